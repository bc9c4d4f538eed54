#include "base/thread_pool.h"

#include <sched.h>

#include <fstream>
#include <set>
#include <string>
#include <utility>

#include "base/error.h"

namespace fathom {
namespace {

// Spinning bridges the gap between two loops of one token; after that a thread sleeps and leaves the core to others.
constexpr int kSpins = 2000;

inline void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

}  // namespace

ThreadPool::ThreadPool(size_t threads) {
  check(threads >= 1, "a pool needs a thread");
  for (size_t i = 1; i < threads; ++i) workers_.emplace_back([this] { work(); });
}

ThreadPool::~ThreadPool() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  wake_.notify_all();
}

void ThreadPool::run(size_t n, FunctionRef<void(size_t)> f) {
  if (n == 0) return;
  if (workers_.empty() || n == 1) {
    for (size_t i = 0; i < n; ++i) f(i);
    return;
  }
  f_ = &f;
  n_ = n;
  next_.store(0, std::memory_order_relaxed);
  pending_workers_.store(workers_.size(), std::memory_order_relaxed);
  {
    const std::lock_guard lock(mutex_);
    loop_.fetch_add(1, std::memory_order_release);
  }
  wake_.notify_all();
  take_items();
  // Workers that found nothing to do must have left as well: f and n_ are about to change.
  for (int spins = 0; pending_workers_.load(std::memory_order_acquire) != 0;) {
    if (++spins < kSpins)
      relax();
    else
      std::this_thread::yield();
  }
}

void ThreadPool::take_items() {
  for (;;) {
    const size_t i = next_.fetch_add(1, std::memory_order_relaxed);
    if (i >= n_) return;
    (*f_)(i);
  }
}

void ThreadPool::work() {
  uint64_t seen = 0;
  for (;;) {
    for (int spins = 0; spins < kSpins && loop_.load(std::memory_order_acquire) == seen; ++spins) {
      if (stop_.load(std::memory_order_relaxed)) return;
      relax();
    }
    if (loop_.load(std::memory_order_acquire) == seen) {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [&] { return stop_.load() || loop_.load(std::memory_order_acquire) != seen; });
      if (stop_) return;
    }
    seen = loop_.load(std::memory_order_acquire);
    take_items();
    pending_workers_.fetch_sub(1, std::memory_order_release);
  }
}

size_t physical_cores() {
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) return 1;
  std::set<std::pair<std::string, std::string>> cores;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &allowed)) continue;
    const std::string dir = "/sys/devices/system/cpu/cpu" + std::to_string(cpu) + "/topology/";
    std::string package, core;
    std::ifstream(dir + "physical_package_id") >> package;
    std::ifstream(dir + "core_id") >> core;
    if (core.empty()) core = "cpu" + std::to_string(cpu);  // no topology: count every processor
    cores.emplace(package, core);
  }
  return cores.empty() ? 1 : cores.size();
}

}  // namespace fathom
