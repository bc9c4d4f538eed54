// Multi-head latent attention of DeepSeek V2 and V3, in the absorbed form everywhere (spec/models.md 4, numerics.md 5):
// the cache holds one latent row [c; k_pe] a position. Source: arXiv:2405.04434.
#pragma once
#include <memory>
#include <string>

#include "models/parts/part.h"
#include "models/weights.h"

namespace fathom {

/// prefix: "model.layers.N.self_attn.".
std::unique_ptr<Attention> load_mla(WeightLoader& loader, const std::string& prefix);

}  // namespace fathom
