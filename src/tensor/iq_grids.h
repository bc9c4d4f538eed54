// The code tables of GGUF's IQ1, IQ2 and IQ3 types (spec/gguf.md 4.8b), as data of the format. An entry is one 16-bit
// code: 8 values of 2 bits (IQ1, IQ2) or 4 values of 3 bits (IQ3), each an index into the type's levels.
// Called by tensor/dequantize.cc and by repacking kernels. Constant data: thread-safe.
#pragma once
#include <array>
#include <cstdint>

#include "tensor/dtype.h"

namespace fathom {

struct IqGrid {
  const uint16_t* codes;
  std::array<int8_t, 8> levels;
  uint32_t bits;  ///< of one value: 2 or 3

  /// Value j of an entry; the caller keeps `entry` within the table by masking.
  int value(uint32_t entry, uint32_t j) const { return levels[(codes[entry] >> (bits * j)) & ((1u << bits) - 1)]; }
};

/// The table of this type; null for types without one. IQ1_S and IQ1_M share theirs.
const IqGrid* iq_grid(DType type);

}  // namespace fathom
