// The table "avx512": elementwise kernels and attention from simd_*.h, the others from the files beside it.
#include "kernels/cpu/avx2.h"
#include "kernels/cpu/avx512.h"
#include "kernels/cpu/simd_attention.h"
#include "kernels/cpu/simd_attention_mla.h"
#include "kernels/cpu/simd_avx512.h"
#include "kernels/cpu/simd_backward_rows.h"
#include "kernels/cpu/simd_rows.h"
#include "kernels/tables.h"

namespace fathom {
namespace avx512 {
namespace {

using Rows = simd::Rows<Simd>;
using BackwardRows = simd::BackwardRows<Simd>;
using Attention = simd::Attention<Simd>;
using AttentionMla = simd::AttentionMla<Simd>;

constexpr Kernels table_of(bool has_bf16) {
  return {
      .name = "avx512",
      .has_bf16 = has_bf16,
      .linear_exact = linear_exact,
      .linear_int8 = linear_int8,
      .linear_bf16 = has_bf16 ? linear_bf16 : nullptr,
      .pack_rows = avx2::pack_rows,
      .quantize_rows = Rows::quantize_rows,
      .tiles = kActivationTiles,
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
      .multiply_add_bf16 = has_bf16 ? multiply_add_bf16 : nullptr,
      .linear_backward_input_bf16 = has_bf16 ? linear_backward_input_bf16 : nullptr,
      .softmax_backward = BackwardRows::softmax_backward,
      .rms_norm_backward = BackwardRows::rms_norm_backward,
      .rms_norm_backward_weight = BackwardRows::rms_norm_backward_weight,
      .silu_mul_backward = BackwardRows::silu_mul_backward,
      .exp_scaled = BackwardRows::exp_scaled,
  };
}

constexpr Kernels kTable = table_of(false), kTableWithBf16 = table_of(true);

}  // namespace
}  // namespace avx512

const Kernels& avx512_kernels(bool has_bf16) { return has_bf16 ? avx512::kTableWithBf16 : avx512::kTable; }

}  // namespace fathom
