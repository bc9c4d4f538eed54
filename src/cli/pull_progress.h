// How far a pull is, on one line of a terminal: bytes, speed, time left; and the notices above it. Nothing of the line
// elsewhere. Called by cli/pull.cc. One thread.
#pragma once
#include <chrono>
#include <cstdint>
#include <deque>
#include <string>
#include <vector>

#include "cli/terminal.h"

namespace fathom {

class PullProgress {
 public:
  PullProgress(std::string what, Terminal terminal) : what_(std::move(what)), terminal_(terminal) {}
  ~PullProgress() { clear(); }
  PullProgress(const PullProgress&) = delete;
  PullProgress& operator=(const PullProgress&) = delete;

  /// Bytes that are here, of all; a total of 0: the hub is being asked.
  void show(uint64_t done, uint64_t total);
  /// A line of its own on standard error, kept for notices().
  void notice(const std::string& text);
  const std::vector<std::string>& notices() const { return notices_; }
  void clear();

 private:
  using Clock = std::chrono::steady_clock;
  struct Point {
    Clock::time_point time;
    uint64_t done;
  };
  double bytes_per_s(uint64_t done);
  std::string what_;
  Terminal terminal_;
  Clock::time_point shown_{};
  std::deque<Point> points_;  // of the last seconds: the speed is theirs
  std::vector<std::string> notices_;
  bool visible_ = false;
};

/// "pulling x [####    ] 40%, 1.20 GB of 3.00 GB, 35.0 MB/s, 51 s left", at most `columns` wide.
std::string pull_line(const std::string& what, uint64_t done, uint64_t total, double bytes_per_s, size_t columns);

}  // namespace fathom
