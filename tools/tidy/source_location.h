// For clang-tidy before version 16 only, which lacks the builtin behind libstdc++'s std::source_location, so that the
// header declares nothing. Included ahead of each file by tools/check_tidy.py; no compiler ever sees it.
#pragma once
#include <source_location>
#if !__has_builtin(__builtin_source_location)
namespace std {  // NOLINT(cert-dcl58-cpp)
struct source_location {
  static constexpr source_location current() noexcept { return {}; }
  constexpr const char* file_name() const noexcept { return ""; }
  constexpr const char* function_name() const noexcept { return ""; }
  constexpr unsigned line() const noexcept { return 0; }
  constexpr unsigned column() const noexcept { return 0; }
};
}  // namespace std
#endif
