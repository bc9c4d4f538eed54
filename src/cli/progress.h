// A progress bar with the time left, on one line of a terminal; nothing elsewhere. One thread.
#pragma once
#include <chrono>
#include <cstdint>
#include <string>

#include "cli/terminal.h"

namespace fathom {

class ProgressBar {
 public:
  /// On `terminal`; appears after half a second only.
  ProgressBar(std::string what, Terminal terminal) : what_(std::move(what)), terminal_(terminal) {}
  ~ProgressBar() { clear(); }
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;

  void show(uint64_t done, uint64_t total);
  /// Removes the line.
  void clear();

 private:
  using Clock = std::chrono::steady_clock;
  std::string what_;
  Terminal terminal_;
  Clock::time_point start_ = Clock::now(), shown_ = start_;
  bool visible_ = false;
};

/// "loading [#####     ] 50%, 3 s left", at most `columns` wide.
std::string progress_line(const std::string& what, double fraction, double elapsed_s, size_t columns);
/// "51 s", "12 min", "3 h 20 min".
std::string duration_text(double seconds);

}  // namespace fathom
