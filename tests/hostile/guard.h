// Runs what a hostile file could crash, hang or bloat in a child process with limits of its own, and tells how it
// ended. Processor time and memory are the system's limits (RLIMIT_CPU, RLIMIT_DATA), so no clock is asserted on.
// Called by the tests of this folder. One thread.
#pragma once
#include <cstdint>
#include <functional>
#include <string>

namespace fathom::testing {

struct GuardLimits {
  uint64_t cpu_s = 10;        ///< five times that under sanitizers
  uint64_t memory_mib = 256;  ///< beyond what the process has; not limited under sanitizers
};

/// How a body ended.
struct Ending {
  std::string error;    ///< the message of the Error that it threw; "" if it threw none
  std::string failure;  ///< "" for an end that is allowed: returned, or threw an Error
  bool returned() const { return failure.empty() && error.empty(); }
};

/// Runs `body` in a child. Anything but a return or an Error is a failure: another exception, a signal, an exit, the
/// end of memory or time.
Ending guarded(const std::function<void()>& body, const GuardLimits& limits = {});

/// Called by a body that does many things: a failure then names the last one.
void at_step(uint64_t step);

/// Counts what a body saw, readable after it ended: slots 0 to 7, zero at the beginning of guarded().
void count_in(size_t slot);
uint64_t counted(size_t slot);

}  // namespace fathom::testing
