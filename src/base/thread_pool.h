// A pool of threads for loops over independent items. The caller works too, so a pool of 1 has no thread of its own.
// Results never depend on the number of threads (law 2): items are independent, and only their assignment is dynamic.
#pragma once
#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "base/function_ref.h"

namespace fathom {

class ThreadPool {
 public:
  /// `threads` >= 1, the calling thread included. Throws ResourceError if the system does not start them.
  explicit ThreadPool(size_t threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  size_t size() const { return workers_.size() + 1; }

  /// Calls f(i) for every i in [0, n), each once, on any thread; returns when all are done. f must not throw.
  /// Each thread goes through a range of its own in ascending order, so that what neighbouring items read is one stream
  /// for it, then helps with what is left of the others'.
  /// One loop at a time: called from one thread, and not from within f.
  void run(size_t n, FunctionRef<void(size_t)> f);

 private:
  // state_: number of the loop, whether it is open, how many workers are in it. A worker joins an open loop by counting
  // itself in; run() closes the loop when nothing is left to take and waits for those inside alone, so that a worker
  // that sleeps, or whose core is busy with something else, keeps nobody waiting.
  static constexpr uint64_t kWorkers = 0xFFFF, kOpen = 0x10000, kLoop = 0x20000;

  void stop();
  void work(size_t self);
  void take_items(size_t self);
  bool join(uint64_t& seen);

  std::mutex mutex_;
  std::condition_variable wake_;
  std::atomic<uint64_t> state_{0};
  std::atomic<size_t> sleeping_{0};
  std::atomic<bool> stop_{false};
  /// What is left of a thread's items; a cache line each.
  struct alignas(64) Range {
    std::atomic<size_t> next{0};
    size_t end = 0;
  };
  std::unique_ptr<Range[]> ranges_;  // one per thread, the caller's first
  const FunctionRef<void(size_t)>* f_ = nullptr;
  std::vector<std::jthread> workers_;  // last: they use all of the above
};

/// Physical cores that this process may use, at least 1.
size_t physical_cores();

}  // namespace fathom
