#include "base/log.h"

#include <array>
#include <atomic>
#include <cstdio>
#include <string>

namespace fathom {
namespace {
std::atomic<LogLevel> minimum{LogLevel::kWarning};
constexpr std::array<const char*, 4> kNames = {"debug", "info", "warning", "error"};
}  // namespace

void set_log_level(LogLevel level) { minimum = level; }

void log(LogLevel level, std::string_view text) {
  if (level < minimum.load() || level == LogLevel::kOff) return;
  std::string line = "fathom: ";
  line += kNames[static_cast<size_t>(level)];
  line += ": ";
  line += text;
  line += '\n';
  std::fwrite(line.data(), 1, line.size(), stderr);
}

}  // namespace fathom
