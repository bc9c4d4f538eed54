// Grouped-query attention of Llama, Qwen2 (biases on q, k, v) and Qwen3 (norms on q and k). Source: arXiv:2305.13245.
#pragma once
#include <memory>
#include <string>

#include "models/parts/part.h"
#include "models/weights.h"

namespace fathom {

/// prefix: "model.layers.N.self_attn.".
std::unique_ptr<Attention> load_gqa(WeightLoader& loader, const std::string& prefix);

}  // namespace fathom
