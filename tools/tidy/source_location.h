// For clang before version 16 only, which lacks the builtin behind libstdc++'s std::source_location, so that the
// header declares nothing. Included ahead of each file by tools/check_tidy.py and by the fuzz build.
#pragma once
#include <source_location>
#if !__has_builtin(__builtin_source_location)
namespace std {  // NOLINT(cert-dcl58-cpp)
struct source_location {
  static constexpr source_location current(const char* file = __builtin_FILE(),
                                           unsigned line = __builtin_LINE()) noexcept {
    source_location here;
    here.file_ = file;
    here.line_ = line;
    return here;
  }
  constexpr const char* file_name() const noexcept { return file_; }
  constexpr const char* function_name() const noexcept { return ""; }
  constexpr unsigned line() const noexcept { return line_; }
  constexpr unsigned column() const noexcept { return 0; }

 private:
  const char* file_ = "";
  unsigned line_ = 0;
};
}  // namespace std
#endif
