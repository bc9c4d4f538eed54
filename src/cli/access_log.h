// Lines of a log, written by a thread of its own: whoever answers requests never waits for a disk or a pipe. Any thread
// may write.
#pragma once
#include <atomic>
#include <condition_variable>
#include <deque>
#include <filesystem>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>

namespace fathom {

class AccessLog {
 public:
  /// Appends to a file; "": to stderr. Throws Error naming the file.
  explicit AccessLog(const std::filesystem::path& file);
  /// Writes what waits, unless nobody reads the pipe.
  ~AccessLog();
  AccessLog(const AccessLog&) = delete;
  AccessLog& operator=(const AccessLog&) = delete;

  /// Queues a line. Where kMostLines wait already it is dropped, and the log says how many were.
  void write(std::string line);
  static constexpr size_t kMostLines = 4096;

 private:
  void work();
  /// False: the file does not take it now, and the end has come; or it takes nothing more at all.
  bool put(std::string_view text);

  const int fd_;
  const bool own_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::string> lines_;
  size_t dropped_ = 0;
  std::atomic<bool> ends_ = false;
  std::thread thread_;  // last: it uses all of the above
};

}  // namespace fathom
