// How fast this machine is at this moment: reading memory with all threads, multiplying in registers, and whether a
// stranger shares the cores. Speeds mean something only next to these, taken before and after (docs/performance.md).
// Called by cli/bench.cc. One thread, which no other work of this process may disturb.
#pragma once
#include <cstddef>
#include <memory>
#include <vector>

#include "kernels/kernels.h"
#include "kernels/probe_loops.h"
#include "kernels/profile.h"

namespace fathom {

/// One look at the machine, a fifth of a second.
struct ProbeReading {
  double read_gb_s = 0;    ///< best of three passes over the buffer, all threads
  double peak_gop_s = 0;   ///< best of eight, all threads, a multiply-add is two; 0: the kernels have no such unit
  double nops_per_ns = 0;  ///< of the slowest thread
};

class Probes {
 public:
  static constexpr size_t kBufferBytes = size_t{1} << 30;
  /// Takes a buffer of this size, less where a quarter of the free memory is less, and keeps it resident, in huge pages
  /// where the system grants them. Throws ResourceError where there is no memory.
  Probes(const Kernels& kernels, Profile profile, size_t threads, size_t buffer_bytes = kBufferBytes);
  ~Probes();
  Probes(const Probes&) = delete;
  Probes& operator=(const Probes&) = delete;

  ProbeReading take() const;
  size_t buffer_bytes() const { return size_; }
  /// Nine tenths of the buffer or more.
  bool has_huge_pages() const { return huge_pages_; }
  size_t threads() const { return threads_; }
  /// "int8", "f32", "bf16": the unit that peak_gop_s is of.
  const char* unit() const { return unit_; }

 private:
  double read_rate() const;
  double loop_rate(const ProbeLoop& loop, size_t rounds, bool slowest) const;
  size_t rounds_for(const ProbeLoop& loop, double seconds) const;

  const ProbeLoops& loops_;
  const ProbeLoop& peak_;
  const char* unit_;
  size_t threads_, size_ = 0, peak_rounds_ = 0, nop_rounds_ = 0;
  std::byte* buffer_ = nullptr;
  bool huge_pages_ = false;
};

}  // namespace fathom
