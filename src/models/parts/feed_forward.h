// The feed-forward halves: a SwiGLU MLP, and the mixture of experts of DeepSeek and Qwen3.
#pragma once
#include <memory>
#include <string>

#include "models/parts/part.h"
#include "models/weights.h"

namespace fathom {

/// down(silu(gate x) * up x). prefix: "model.layers.N.mlp.", width: intermediate size. Source: arXiv:2002.05202.
std::unique_ptr<FeedForward> load_mlp(WeightLoader& loader, const std::string& prefix, size_t width);

/// Shared experts plus the router's choice of n_routed_experts (spec/models.md 5). Source: arXiv:2401.06066.
std::unique_ptr<FeedForward> load_moe(WeightLoader& loader, const std::string& prefix);

}  // namespace fathom
