// Threads for what is too slow for an I/O thread: reading requests, loading models. Any thread may post.
#pragma once
#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace fathom {

class Workers {
 public:
  explicit Workers(size_t threads) {
    for (size_t i = 0; i < threads; ++i) threads_.emplace_back([this] { work(); });
  }
  ~Workers() { stop(); }
  Workers(const Workers&) = delete;
  Workers& operator=(const Workers&) = delete;

  /// Waits for the tasks that have begun; others are dropped, and those that come later. Not from a task.
  void stop() {
    std::deque<std::function<void()>> dropped;  // outside the lock: they may hold what calls us
    {
      const std::lock_guard lock(mutex_);
      ends_ = true;
      dropped.swap(tasks_);
    }
    wake_.notify_all();
    threads_.clear();
  }

  /// `task` must not throw.
  void post(std::function<void()> task) {
    {
      const std::lock_guard lock(mutex_);
      if (ends_) return;
      tasks_.push_back(std::move(task));
    }
    wake_.notify_one();
  }

 private:
  void work() {
    while (true) {
      std::function<void()> task;
      {
        std::unique_lock lock(mutex_);
        wake_.wait(lock, [this] { return ends_ || !tasks_.empty(); });
        if (ends_) return;
        task = std::move(tasks_.front());
        tasks_.pop_front();
      }
      task();
    }
  }

  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::function<void()>> tasks_;
  bool ends_ = false;
  std::vector<std::jthread> threads_;  // last: they use all of the above
};

}  // namespace fathom
