// A pool of threads for loops over independent items. The caller works too, so a pool of 1 has no thread of its own.
// Results never depend on the number of threads (law 2): items are independent, and only their assignment is dynamic.
#pragma once
#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <thread>
#include <vector>

#include "base/function_ref.h"

namespace fathom {

class ThreadPool {
 public:
  /// `threads` >= 1, the calling thread included.
  explicit ThreadPool(size_t threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  size_t size() const { return workers_.size() + 1; }

  /// Calls f(i) for every i in [0, n), each once, on any thread; returns when all are done. f must not throw.
  /// One loop at a time: called from one thread, and not from within f.
  void run(size_t n, FunctionRef<void(size_t)> f);

 private:
  void work();
  void take_items();

  std::vector<std::jthread> workers_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::atomic<uint64_t> loop_{0};  // number of the loop; odd steps tell workers that a new one is there
  std::atomic<bool> stop_{false};
  std::atomic<size_t> next_{0}, pending_workers_{0};
  size_t n_ = 0;
  const FunctionRef<void(size_t)>* f_ = nullptr;
};

/// Physical cores that this process may use, at least 1.
size_t physical_cores();

}  // namespace fathom
