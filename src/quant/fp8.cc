#include "quant/fp8.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "tensor/float_types.h"

namespace fathom {

uint8_t f8e4m3_from_f32(float x) {
  const uint32_t u = bits_of(x), a = u & 0x7fffffffu;
  const auto sign = static_cast<uint8_t>((u >> 24) & 0x80u);
  if (a > 0x7f800000u) return sign | 0x7f;
  if (a >= bits_of(kFp8Max)) return sign | 0x7e;
  if (a < bits_of(0x1p-6f)) {
    // Subnormal: a sum with 2^14 has its last bit at 2^-9, the unit here, and was rounded to nearest even.
    const float sum = f32_from_bits(a) + 0x1p14f;
    return static_cast<uint8_t>(sign | (bits_of(sum) - bits_of(0x1p14f)));
  }
  const uint32_t rounded = a + 0x7ffffu + ((a >> 20) & 1);
  const uint32_t code = (rounded >> 20) - (120u << 3);  // exponent bias 127 becomes 7
  return static_cast<uint8_t>(sign | std::min(code, 0x7eu));
}

bool fp8_block_scales(const float* x, size_t rows, size_t columns, float* scale_inv) {
  for (size_t begin = 0; begin < columns; begin += kFp8Block) {
    const size_t end = std::min(columns, begin + kFp8Block);
    float most = 0;
    for (size_t r = 0; r < rows; ++r)
      for (size_t c = begin; c < end; ++c) {
        const float a = std::fabs(x[r * columns + c]);
        if (!std::isfinite(a)) return false;
        most = std::max(most, a);
      }
    *scale_inv++ = most == 0 ? 1.0f : std::max(most / kFp8Max, 0x1p-126f);
  }
  return true;
}

void fp8_block_values(const float* x, size_t rows, size_t columns, const float* scale_inv, uint8_t* out) {
  for (size_t r = 0; r < rows; ++r)
    for (size_t c = 0; c < columns; ++c)
      out[r * columns + c] = f8e4m3_from_f32(x[r * columns + c] / scale_inv[c / kFp8Block]);
}

void require_finite_scales(std::string_view name, const Tensor& scale_inv) {
  if (!scale_inv.defined()) return;
  const float* scales = scale_inv.data<float>();
  for (size_t i = 0; i < scale_inv.count(); ++i)
    if (!std::isfinite(scales[i]))
      throw Error(cat("tensor ", name, "_scale_inv: expected finite scales, found ", scales[i],
                      " for the block of row ", i / scale_inv.dim(1) * kFp8Block, ", column ",
                      i % scale_inv.dim(1) * kFp8Block));
}

bool is_fp8_matrix(std::string_view name) {
  if (!name.starts_with("model.layers.")) return false;
  if (!name.ends_with("_proj.weight") && !name.ends_with(".kv_a_proj_with_mqa.weight")) return false;
  return name.find(".self_attn.") != name.npos || name.find(".mlp.") != name.npos;
}

}  // namespace fathom
