// FP8 weights as DeepSeek-V3 publishes them: e4m3 values in blocks of 128 x 128 with one f32 scale each
// (spec/models.md 8). The inverse is tensor/dequantize.h. Called by conversion. No state: thread-safe.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "tensor/tensor.h"

namespace fathom {

inline constexpr size_t kFp8Block = 128;
inline constexpr float kFp8Max = 448;

/// The nearest e4m3fn value, ties to the even mantissa; beyond 448 and infinite: +-448; NaN: NaN (0x7F, 0xFF).
/// Source: spec/models.md 8.1.
uint8_t f8e4m3_from_f32(float x);

/// The scales of one stripe of blocks: scale_inv[b] = max |x| / 448 over the `rows` <= 128 rows of block b, at least
/// 2^-126, and 1 for a block of zeros. x [rows, columns]; scale_inv [ceil(columns / 128)].
/// Returns false if a value is not finite (e4m3 has no infinity, and one would flatten its block). Source: 8.2.
bool fp8_block_scales(const float* x, size_t rows, size_t columns, float* scale_inv);

/// The values of that stripe: out[r, c] = e4m3(x[r, c] / scale_inv[c / 128]), divided in f32.
void fp8_block_values(const float* x, size_t rows, size_t columns, const float* scale_inv, uint8_t* out);

/// Throws Error naming the matrix `name` if one of its scales [rows, columns] is infinite or NaN: its whole block would
/// become so. An undefined tensor is none. What is made of such a file could not be told from a good one.
void require_finite_scales(std::string_view name, const Tensor& scale_inv);

/// Whether DeepSeek stores this matrix in FP8: the projections of attention and feed-forward layers, also of an MTP
/// module; not embeddings, head, norms, the router and eh_proj. `name`: Hugging Face's. Source: 8.2.
bool is_fp8_matrix(std::string_view name);

}  // namespace fathom
