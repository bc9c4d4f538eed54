// The rotation's frequencies from a model's configuration: plain, linear, llama3 and YaRN scaling (spec/models.md 3).
#pragma once
#include "formats/model_config.h"
#include "ops/rope.h"

namespace fathom {

/// inv_freq[i] = theta^(-2i / dims), i < dims / 2, scaled as config.rope_scaling says, in double, rounded once to f32.
/// divisors [dims / 2]: GGUF's rope_freqs.weight, or undefined. Sources: arXiv:2309.00071 (YaRN), Llama 3.1's reference
/// code.
RopeTable rope_table(const ModelConfig& config, size_t dims, const Tensor& divisors);

/// The softmax scale of DeepSeek's MLA: 1 / sqrt(nope + rope) times mscale(factor, mscale_all_dim)^2 under YaRN.
float mla_softmax_scale(const ModelConfig& config);

}  // namespace fathom
