// Values to stored blocks: the writers of every type that Fathom quantises to (spec/gguf.md 4). The inverse is
// tensor/dequantize.h. Called by quantize_file.h and conversion. No state: thread-safe. The same input gives the same
// bytes on every processor.
#pragma once
#include <cstddef>
#include <optional>

#include "tensor/dtype.h"

namespace fathom {

/// Whether quantize() writes this type: F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q2_K to Q6_K, IQ4_NL, IQ4_XS.
bool can_quantize(DType type);

/// The index of the first of x[0, n) that a type cannot hold: NaN, infinite, or of a magnitude above 65504 (the largest
/// f16, of which scales are made; F32 and BF16: their own largest). Callers refuse such a tensor by name.
std::optional<size_t> first_unstorable(DType type, const float* x, size_t n);

/// out = the n / block_size blocks of x[0, n). n is a multiple of the type's block size; out may have any alignment.
///   importance: null, or one weight >= 0 for each of the n values (of an importance matrix: the mean square of what
///   the column is multiplied with); errors are then weighted by importance * sqrt(sigma2 + x^2), Q6_K's by the
///   importance. Then a call is one row: sigma2 of Q4_0, Q4_1, Q5_0 and Q5_1 is the mean square of x[0, n), of the
///   others that of a block. A weight counts at least a millionth of its block's mean; a block whose weights are all 0
///   or not finite is written as without importance. F32, F16, BF16 and Q8_0 take no notice of it.
/// Q8_0, Q4_0, Q4_1, Q5_0 and Q5_1 without importance have the bytes of the reference quantiser. The others begin with
/// its searches (spec/gguf.md 4.9) and then move factors and integer scales where both the weighted and the plain error
/// fall. Values that first_unstorable() names give some block, never an error.
void quantize(DType type, const float* x, std::byte* out, size_t n, const float* importance = nullptr);

}  // namespace fathom
