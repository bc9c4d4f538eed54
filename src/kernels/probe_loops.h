// Loops that only measure: how fast memory can be read, and how fast a unit can multiply. Their rates are the limits
// that speeds are compared with. Called by engine/probes.cc, on any number of threads. No state.
#pragma once
#include <cstddef>

#include "kernels/kernels.h"

namespace fathom {

struct ProbeLoop {
  void (*run)(size_t rounds) = nullptr;  ///< null: these kernels have no such unit
  double operations = 0;                 ///< of one round; a multiply-add is two
};

struct ProbeLoops {
  static constexpr size_t kReadStep = 1024;
  /// Reads [data, data + n) once, ascending; n is a multiple of kReadStep.
  void (*read)(const std::byte* data, size_t n);
  /// In registers only: fma; for int8 vpdpbusd, or vpmaddubsw, vpmaddwd and vpaddd, or sdot; vdpbf16ps.
  ProbeLoop f32, int8, bf16;
  ProbeLoop nops;  ///< operations: instructions. Falls when a stranger shares the core.
};

/// Of the units that this table uses.
const ProbeLoops& probe_loops(const Kernels& kernels);

}  // namespace fathom
