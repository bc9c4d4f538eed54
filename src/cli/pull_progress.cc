#include "cli/pull_progress.h"

#include <algorithm>

#include "base/error.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "cli/sanitize.h"
#include "hub/names.h"

namespace fathom {
namespace {

constexpr std::chrono::seconds kWindow{5};
constexpr std::chrono::milliseconds kBetween{150};

}  // namespace

std::string pull_line(const std::string& what, uint64_t done, uint64_t total, double bytes_per_s, size_t columns) {
  if (columns < 2) return "";
  if (total == 0) return cat(what, ": asking the hub").substr(0, columns - 1);
  constexpr size_t kWidth = 20;
  const double fraction = std::min(1.0, static_cast<double>(done) / static_cast<double>(total));
  const auto filled = static_cast<size_t>(fraction * kWidth);
  std::string line = cat(what, " [", std::string(filled, '#'), std::string(kWidth - filled, ' '), "] ",
                         static_cast<int>(fraction * 100), "%, ", size_text(done), " of ", size_text(total));
  if (done >= total)
    line += ", checking the hash";
  else if (bytes_per_s >= 1)
    line += cat(", ", size_text(static_cast<uint64_t>(bytes_per_s)), "/s, ",
                duration_text(static_cast<double>(total - done) / bytes_per_s), " left");
  return line.substr(0, columns - 1);
}

double PullProgress::bytes_per_s(uint64_t done) {
  const Clock::time_point now = Clock::now();
  if (!points_.empty() && done < points_.back().done) points_.clear();  // a file began anew
  points_.push_back({now, done});
  while (points_.size() > 2 && now - points_.front().time > kWindow) points_.pop_front();
  const double seconds = std::chrono::duration<double>(now - points_.front().time).count();
  return seconds < 0.3 ? 0 : static_cast<double>(done - points_.front().done) / seconds;
}

void PullProgress::show(uint64_t done, uint64_t total) {
  if (!terminal_.can_move || Clock::now() - shown_ < kBetween) return;
  shown_ = Clock::now();
  const double speed = total ? bytes_per_s(done) : 0;
  print_err("\r\x1b[K" + pull_line(what_, done, total, speed, terminal_.size().columns));
  visible_ = true;
}

void PullProgress::notice(const std::string& text) {
  clear();
  notices_.push_back(text);
  print_err(sanitized(cat("note: ", text)) + "\n");
}

void PullProgress::clear() {
  if (visible_) print_err("\r\x1b[K");
  visible_ = false;
}

}  // namespace fathom
