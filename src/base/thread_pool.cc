#include "base/thread_pool.h"

#include <sched.h>

#include <fstream>
#include <set>
#include <string>
#include <system_error>
#include <utility>

#include "base/error.h"

namespace fathom {
namespace {

// Spinning bridges the gap between two loops of one token; after that a thread sleeps and leaves the core to others.
constexpr int kSpins = 2000;

inline void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

/// Round to nearest, subnormals kept, no traps (spec/numerics.md 1), whatever a library has set in this thread.
inline void set_float_environment() {
#if defined(__x86_64__)
  __builtin_ia32_ldmxcsr(0x1F80);
#elif defined(__aarch64__)
  asm volatile("msr fpcr, %0" : : "r"(uint64_t{0}));
#endif
}

}  // namespace

ThreadPool::ThreadPool(size_t threads) : ranges_(std::make_unique<Range[]>(threads)) {
  check(threads >= 1, "a pool needs a thread");
  try {
    for (size_t i = 1; i < threads; ++i) workers_.emplace_back([this, i] { work(i); });
  } catch (const std::system_error& e) {
    const size_t started = workers_.size() + 1;
    stop();
    throw ResourceError(cat("threads: expected to start ", threads, ", the system allowed ", started, ": ", e.what()));
  }
}

ThreadPool::~ThreadPool() { stop(); }

void ThreadPool::stop() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  wake_.notify_all();
  workers_.clear();
}

void ThreadPool::run(size_t n, FunctionRef<void(size_t)> f) {
  if (n == 0) return;
  set_float_environment();
  if (workers_.empty() || n == 1) {
    for (size_t i = 0; i < n; ++i) f(i);
    return;
  }
  f_ = &f;
  for (size_t i = 0; i < size(); ++i) {
    ranges_[i].next.store(n * i / size(), std::memory_order_relaxed);
    ranges_[i].end = n * (i + 1) / size();
  }
  state_.store(((state_.load(std::memory_order_relaxed) & ~(kLoop - 1)) + kLoop) | kOpen);
  if (sleeping_.load() != 0) {  // sequentially consistent with work(): either this sees the sleeper or it sees the loop
    { const std::lock_guard lock(mutex_); }
    wake_.notify_all();
  }
  take_items(0);
  state_.fetch_and(~kOpen, std::memory_order_acq_rel);
  for (int spins = 0; (state_.load(std::memory_order_acquire) & kWorkers) != 0;) {
    if (++spins < kSpins)
      relax();
    else
      std::this_thread::yield();
  }
}

void ThreadPool::take_items(size_t self) {
  const size_t n = size();
  for (size_t other = 0; other < n; ++other) {
    Range& range = ranges_[(self + other) % n];
    for (;;) {
      const size_t i = range.next.fetch_add(1, std::memory_order_relaxed);
      if (i >= range.end) break;
      (*f_)(i);
    }
  }
}

/// Counts the calling worker into an open loop that it has not been in; false if there is none.
bool ThreadPool::join(uint64_t& seen) {
  uint64_t state = state_.load(std::memory_order_acquire);
  while ((state & kOpen) != 0 && state / kLoop != seen)
    if (state_.compare_exchange_weak(state, state + 1, std::memory_order_acq_rel)) {
      seen = state / kLoop;
      return true;
    }
  return false;
}

void ThreadPool::work(size_t self) {
  set_float_environment();
  uint64_t seen = 0;
  for (int spins = 0; !stop_.load(std::memory_order_relaxed);) {
    if (join(seen)) {
      take_items(self);
      state_.fetch_sub(1, std::memory_order_release);
      spins = 0;
    } else if (++spins < kSpins) {
      relax();
    } else {
      std::unique_lock lock(mutex_);
      ++sleeping_;
      wake_.wait(lock, [&] {
        const uint64_t state = state_.load();
        return stop_.load() || ((state & kOpen) != 0 && state / kLoop != seen);
      });
      --sleeping_;
      spins = 0;
    }
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
