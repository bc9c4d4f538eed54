#include "cli/progress.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "cli/output.h"

namespace fathom {

std::string progress_line(const std::string& what, double fraction, double elapsed_s, size_t columns) {
  fraction = std::clamp(fraction, 0.0, 1.0);
  constexpr size_t kWidth = 30;
  const auto filled = static_cast<size_t>(std::lround(fraction * kWidth));
  std::string line = cat(what, " [", std::string(filled, '#'), std::string(kWidth - filled, ' '), "] ",
                         std::lround(100 * fraction), "%");
  if (fraction > 0.01) line += cat(", ", duration_text(elapsed_s / fraction * (1 - fraction)), " left");
  return line.substr(0, columns > 1 ? columns - 1 : 0);
}

std::string duration_text(double seconds) {
  const auto s = static_cast<int64_t>(std::llround(std::clamp(seconds, 0.0, 1e9)));
  if (s < 120) return cat(s, " s");
  if (s < 7200) return cat((s + 30) / 60, " min");
  return cat(s / 3600, " h ", s % 3600 / 60, " min");
}

void ProgressBar::show(uint64_t done, uint64_t total) {
  if (!terminal_.can_move || total == 0) return;
  const Clock::time_point now = Clock::now();
  if (now - start_ < std::chrono::milliseconds(500) || now - shown_ < std::chrono::milliseconds(100)) return;
  shown_ = now;
  visible_ = true;
  const double elapsed_s = std::chrono::duration<double>(now - start_).count();
  const double fraction = static_cast<double>(done) / static_cast<double>(total);
  print_err("\r\x1b[K" + progress_line(what_, fraction, elapsed_s, terminal_.size().columns));
}

void ProgressBar::clear() {
  if (visible_) print_err("\r\x1b[K");
  visible_ = false;
}

}  // namespace fathom
