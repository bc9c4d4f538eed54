// Weight blocks as integers for profile int8 (spec/numerics.md 3, spec/gguf.md 4): what linear_int8 multiplies, spelled
// out value by value. Called by ref/linear_int8.cc and by tests. Pure functions, any thread.
#pragma once
#include <cstddef>
#include <cstdint>

#include "tensor/dtype.h"

namespace fathom::ref {

/// One block: value i is d * scale[i / 16] * w[i], and with minima
///   sign > 0 (Q4_1, Q5_1):        + m * minimum[i / 16], all minima 1;
///   sign < 0 (Q2_K, Q4_K, Q5_K):  - m * minimum[i / 16].
/// Offsets (-8, -16, -32, -4), code tables and doubled E2M1 are inside w.
struct Int8Block {
  int8_t w[256];
  int16_t scale[16];
  int16_t minimum[16];
  float d = 0, m = 0;
  int sign = 0;  ///< of the minimum term; 0: the type has none
};

/// Reads one block of a type with int8_block(type) != 0.
void read_int8_block(Int8Block& out, DType type, const uint8_t* block);

}  // namespace fathom::ref
