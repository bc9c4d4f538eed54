// Errors, in the three kinds of style.md 5. Error: data from outside is wrong. check(): our own code broke an
// invariant. cat() builds messages. Everybody includes this file; it knows nothing of language models.
#pragma once
#include <source_location>
#include <sstream>
#include <stdexcept>
#include <string>
#include <utility>

namespace fathom {

/// The arguments, streamed into one string: cat("tensor ", name, ": expected ", want, ", found ", got).
template <class... Args>
std::string cat(const Args&... args) {
  std::ostringstream out;
  (out << ... << args);
  return std::move(out).str();
}

/// Data from outside (a file, a request, a flag) is wrong. The message names the thing, what was expected, what came.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
  /// The exit code of a program that ends because of it (DESIGN.md 4): 1 the input's fault.
  virtual int exit_code() const { return 1; }
};

/// A flag or command is wrong: exit code 2.
class UsageError : public Error {
 public:
  using Error::Error;
  int exit_code() const override { return 2; }
};

/// Refused because memory, disk or another resource does not suffice: exit code 3. The message has the numbers.
class ResourceError : public Error {
 public:
  using Error::Error;
  int exit_code() const override { return 3; }
};

/// Prints file, line and reason, and ends the process.
[[noreturn]] void fail(const char* why, std::source_location at = std::source_location::current());

/// An invariant of our own code; checked in release builds too. Never for data from outside.
inline void check(bool ok, const char* why, std::source_location at = std::source_location::current()) {
  if (!ok) [[unlikely]]
    fail(why, at);
}

}  // namespace fathom
