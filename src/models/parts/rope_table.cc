#include "models/parts/rope_table.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace fathom {
namespace {

double yarn_mscale(double factor, double m) { return factor <= 1 ? 1 : 0.1 * m * std::log(factor) + 1; }

/// The pair index at which a rotation makes n turns over the original context.
double correction_dim(const ModelConfig& c, double dims, double n) {
  return dims * std::log(c.rope_scaling.original_max_position_embeddings / (2 * std::numbers::pi * n)) /
         (2 * std::log(c.rope_theta));
}

double yarn_frequency(const ModelConfig& c, double theta, size_t i, double dims) {
  const RopeScaling& s = c.rope_scaling;
  const double low = std::max(std::floor(correction_dim(c, dims, s.beta_fast)), 0.0);
  double high = std::min(std::ceil(correction_dim(c, dims, s.beta_slow)), dims - 1);
  if (low == high) high += 0.001;
  const double ramp = std::clamp((static_cast<double>(i) - low) / (high - low), 0.0, 1.0);
  return theta * (1 - ramp) + theta / s.factor * ramp;
}

double llama3_frequency(const RopeScaling& s, double theta) {
  const double wavelength = 2 * std::numbers::pi / theta, original = s.original_max_position_embeddings;
  if (wavelength < original / s.high_freq_factor) return theta;
  if (wavelength > original / s.low_freq_factor) return theta / s.factor;
  const double m = (original / wavelength - s.low_freq_factor) / (s.high_freq_factor - s.low_freq_factor);
  return (1 - m) * theta / s.factor + m * theta;
}

double magnitude(const RopeScaling& s) {
  if (s.rope_type != RopeType::kYarn) return 1;
  if (s.attention_factor) return *s.attention_factor;
  if (s.mscale_all_dim != 0) return yarn_mscale(s.factor, s.mscale) / yarn_mscale(s.factor, s.mscale_all_dim);
  return s.attn_factor.value_or(1) * yarn_mscale(s.factor, s.mscale != 0 ? s.mscale : 1);
}

}  // namespace

RopeTable rope_table(const ModelConfig& config, size_t dims, const Tensor& divisors) {
  RopeTable table{make_tensor(DType::kF32, {dims / 2}), static_cast<float>(magnitude(config.rope_scaling)),
                  config.rope_interleaved};
  for (size_t i = 0; i < dims / 2; ++i) {
    double theta = std::pow(config.rope_theta, -2.0 * static_cast<double>(i) / static_cast<double>(dims));
    switch (config.rope_scaling.rope_type) {
      case RopeType::kDefault: break;
      case RopeType::kLinear: theta /= config.rope_scaling.factor; break;
      case RopeType::kLlama3: theta = llama3_frequency(config.rope_scaling, theta); break;
      case RopeType::kYarn: theta = yarn_frequency(config, theta, i, static_cast<double>(dims)); break;
    }
    if (divisors.defined()) theta /= static_cast<double>(divisors.data<float>()[i]);
    table.inv_freq.data<float>()[i] = static_cast<float>(theta);
  }
  return table;
}

float mla_softmax_scale(const ModelConfig& config) {
  const RopeScaling& s = config.rope_scaling;
  const double scale = 1 / std::sqrt(static_cast<double>(config.qk_nope_head_dim + config.qk_rope_head_dim));
  if (s.rope_type != RopeType::kYarn || s.mscale_all_dim == 0) return static_cast<float>(scale);
  const double m = yarn_mscale(s.factor, s.mscale_all_dim);
  return static_cast<float>(scale * m * m);
}

}  // namespace fathom
