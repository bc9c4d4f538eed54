// The table "neon": elementwise kernels and attention from simd_*.h, the others from the files beside it. There is no
// bf16: bfdot and bfmmla round otherwise than vdpbf16ps does (spec/numerics.md 4).
#include "kernels/cpu/neon.h"
#include "kernels/cpu/simd_attention.h"
#include "kernels/cpu/simd_attention_mla.h"
#include "kernels/cpu/simd_backward_rows.h"
#include "kernels/cpu/simd_neon.h"
#include "kernels/cpu/simd_rows.h"
#include "kernels/tables.h"

namespace fathom {
namespace neon {
namespace {

using Rows = simd::Rows<Simd>;
using BackwardRows = simd::BackwardRows<Simd>;
using Attention = simd::Attention<Simd>;
using AttentionMla = simd::AttentionMla<Simd>;

constexpr Kernels table_of(bool has_dotprod) {
  return {
      .name = "neon",
      .has_bf16 = false,
      .linear_exact = linear_exact,
      .linear_int8 = has_dotprod ? linear_int8_dotprod : linear_int8,
      .linear_bf16 = nullptr,
      .pack_rows = pack_rows,
      .quantize_rows = Rows::quantize_rows,
      .tiles = {},
      .round_bf16 = Rows::round_bf16,
      .rms_norm = Rows::rms_norm,
      .add = Rows::add,
      .add_bias = Rows::add_bias,
      .silu_mul = Rows::silu_mul,
      .rope = Rows::rope,
      .rope_angles = ref::rope_angles,
      .softmax = Rows::softmax,
      .sigmoid = Rows::sigmoid,
      .combine_experts = Rows::combine_experts,
      .log_sum_exp = Rows::log_sum_exp,
      .store_kv = ref::store_kv,
      .store_latent = ref::store_latent,
      .attention = Attention::run,
      .attention_mla = AttentionMla::run,
      .attention_weights = Attention::weights,
      .attention_values = Attention::values,
      .attention_mla_weights = AttentionMla::weights,
      .attention_mla_values = AttentionMla::values,
      .multiply_add = multiply_add,
      .linear_backward_input = linear_backward_input,
      .multiply_add_bf16 = nullptr,
      .linear_backward_input_bf16 = nullptr,
      .softmax_backward = BackwardRows::softmax_backward,
      .rms_norm_backward = BackwardRows::rms_norm_backward,
      .rms_norm_backward_weight = BackwardRows::rms_norm_backward_weight,
      .silu_mul_backward = BackwardRows::silu_mul_backward,
      .exp_scaled = BackwardRows::exp_scaled,
  };
}

constexpr Kernels kTable = table_of(false), kTableWithDotprod = table_of(true);

}  // namespace
}  // namespace neon

const Kernels& neon_kernels(bool has_dotprod) { return has_dotprod ? neon::kTableWithDotprod : neon::kTable; }

}  // namespace fathom
