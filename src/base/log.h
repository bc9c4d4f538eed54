// The log: warnings and worse to stderr unless --log LEVEL says otherwise. For notices that a person must see,
// callers return them as data: only cli/ prints (style.md 5).
#pragma once
#include <string_view>

namespace fathom {

enum class LogLevel { kDebug, kInfo, kWarning, kError, kOff };
void set_log_level(LogLevel level);
void log(LogLevel level, std::string_view text);

}  // namespace fathom
