// Values to stored blocks: the writers of every type that Fathom quantises to (spec/gguf.md 4). The inverse is
// tensor/dequantize.h. Called by quantize_file.h and conversion. No state: thread-safe.
#pragma once
#include <cstddef>

#include "tensor/dtype.h"

namespace fathom {

/// Whether quantize() writes this type: F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q2_K to Q6_K, IQ4_NL, IQ4_XS.
bool can_quantize(DType type);

/// out = the n / block_size blocks of x[0, n). n is a multiple of the type's block size; out may have any alignment.
/// importance: null, or one weight >= 0 for each of the n values (of an importance matrix: the mean square of what the
/// column is multiplied with); errors are then weighted by it. The 32-value types without importance have the bytes of
/// the reference quantiser; the others have at most its error. Source: spec/gguf.md 4.
void quantize(DType type, const float* x, std::byte* out, size_t n, const float* importance = nullptr);

}  // namespace fathom
