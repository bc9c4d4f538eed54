// Time that has passed, for speeds and estimates. Pure; any thread.
#pragma once
#include <chrono>

namespace fathom {

/// Seconds from `start` until now, by a clock that nobody sets.
inline double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace fathom
