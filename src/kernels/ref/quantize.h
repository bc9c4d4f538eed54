// Preparing activations for the profiles int8 and bf16 (spec/numerics.md 3 and 4). Pure functions, any thread.
#pragma once
#include <cstddef>
#include <cstdint>

#include "kernels/kernels.h"

namespace fathom::ref {

/// One block of n values: writes q, returns dx (spec/numerics.md 3).
float quantize_block(int8_t* q, const float* x, size_t n);

/// Rows [T, K] in blocks of out.block: dx = max |x| / 127 and q = nearest-even(x * (127 / max |x|)); a block whose
/// maximum is below 2^-100 is all 0; one with a NaN or infinity has dx = NaN and q = 0. out.sums: sums of q over 16
/// values.
void quantize_rows(const QuantizedRows& out, const float* x, size_t T, size_t K);

}  // namespace fathom::ref
