// Stored blocks to float32: the one definition of what every storage type means (spec/gguf.md 4, golden/quants).
// Called by kernels that have no product of their own for a type, by repacking, conversion and tests.
// No state: thread-safe.
#pragma once
#include <cstddef>

#include "tensor/dtype.h"
#include "tensor/tensor.h"

namespace fathom {

/// Whether dequantize() knows this type: every floating and quantised one, no integers.
bool can_dequantize(DType type);

/// out[0, n) = the values of n / block_size consecutive blocks, computed in f32 in the order that spec/gguf.md 4
/// writes. n is a multiple of the type's block size; blocks may have any alignment. F8_E4M3 gives the values without
/// their scale. F64 is rounded to f32. Any block bytes are allowed (a scale may be infinite or NaN). Source:
/// spec/gguf.md 4.
void dequantize(DType type, const std::byte* blocks, float* out, size_t n);

/// A whole tensor as f32 on the heap. scale_inv: for F8_E4M3, f32 [ceil(rows / 128), ceil(columns / 128)], each block
/// of 128 x 128 values is multiplied by its own (spec/models.md 8.2); otherwise undefined. A stack [E, rows, columns]
/// has scales [E, ...]. Throws Error if the shape of scale_inv does not fit, or the type is an integer.
Tensor dequantize(const Tensor& stored, const Tensor& scale_inv = {});

}  // namespace fathom
