// The table "ref": the definition that every other table equals bit for bit.
#include "kernels/kernels.h"
#include "kernels/ref/attention.h"
#include "kernels/ref/backward.h"
#include "kernels/ref/linear.h"
#include "kernels/ref/quantize.h"
#include "kernels/ref/rows.h"
#include "kernels/ref/scalar.h"
#include "tensor/float_types.h"

namespace fathom {
namespace ref {

void rope_angles(float* cosines, float* sines, const float* inv_freq, size_t half, float position, float magnitude) {
  for (size_t i = 0; i < half; ++i) {
    const float angle = position * inv_freq[i];
    cosines[i] = cos(angle) * magnitude;
    sines[i] = sin(angle) * magnitude;
  }
}

void round_bf16(uint16_t* out, const float* x, size_t n) {
  for (size_t i = 0; i < n; ++i) out[i] = bf16_from_f32(x[i]);
}

float log_f32(float x) { return log(x); }

}  // namespace ref

const Kernels& ref_kernels() {
  static constexpr Kernels table = {
      .name = "ref",
      .has_bf16 = true,
      .linear_exact = ref::linear_exact,
      .linear_int8 = ref::linear_int8,
      .linear_bf16 = ref::linear_bf16,
      .pack_rows = fathom::pack_rows,
      .quantize_rows = ref::quantize_rows,
      .tiles = {},
      .round_bf16 = ref::round_bf16,
      .rms_norm = ref::rms_norm<float>,
      .add = ref::add<float>,
      .add_bias = ref::add_bias<float>,
      .silu_mul = ref::silu_mul<float>,
      .rope = ref::rope<float>,
      .rope_angles = ref::rope_angles,
      .softmax = ref::softmax<float>,
      .sigmoid = ref::sigmoid<float>,
      .combine_experts = ref::combine_experts<float>,
      .log_sum_exp = ref::log_sum_exp<float>,
      .store_kv = ref::store_kv,
      .store_latent = ref::store_latent,
      .attention = ref::attention,
      .attention_mla = ref::attention_mla,
      .attention_weights = ref::attention_weights,
      .attention_values = ref::attention_values,
      .attention_mla_weights = ref::attention_mla_weights,
      .attention_mla_values = ref::attention_mla_values,
      .multiply_add = ref::multiply_add<float>,
      .linear_backward_input = ref::linear_backward_input,
      .multiply_add_bf16 = ref::multiply_add_bf16,
      .linear_backward_input_bf16 = ref::linear_backward_input_bf16,
      .softmax_backward = ref::softmax_backward<float>,
      .rms_norm_backward = ref::rms_norm_backward<float>,
      .rms_norm_backward_weight = ref::rms_norm_backward_weight<float>,
      .silu_mul_backward = ref::silu_mul_backward<float>,
      .exp_scaled = ref::exp_scaled<float>,
  };
  return table;
}

}  // namespace fathom
