// How many parameters a model has, and how many of them one token uses: counted from tensors, or derived from a
// configuration alone. Called by `fathom inspect`. Pure functions.
#pragma once
#include <cstdint>
#include <span>

#include "formats/model_header.h"

namespace fathom {

/// Values that training chose. Sums that do not fit are 2^64 - 1.
struct ParameterCount {
  uint64_t total = 0;      ///< the model without its MTP modules, router biases included; tied tables count once
  uint64_t embedding = 0;  ///< of them the input table, which a token reads one row of
  uint64_t routed = 0;     ///< of them the routed experts
  /// What one token passes through: total - routed + routed * used / experts. Attention, norms, dense layers, shared
  /// experts, the router and both embedding tables count in full, the routed experts by the share that top-k picks
  /// (spec/models.md 1.2 counts so: 37.55e9 for V3).
  uint64_t active = 0;
  uint64_t mtp = 0;     ///< the MTP modules, with their own copies of embedding and head where they have them
  uint64_t scales = 0;  ///< values that only say how others are stored (FP8's weight_scale_inv): no parameters
  uint64_t other = 0;   ///< values that follow from the configuration (rope_freqs, inv_freq): no parameters
};

/// Of a mixture: layers from `layers` on are MTP modules; `used` of `experts` routed ones serve a token. All 0:
/// unknown, or a dense model.
struct ExpertUse {
  uint64_t layers = 0, experts = 0, used = 0;
};

/// Counts the tensors, by Hugging Face's names or GGUF's.
ParameterCount count_parameters(std::span<const HeaderTensor> tensors, const ExpertUse& use);

/// What the configuration implies, with one embedding table and head per MTP module, as published checkpoints have.
ParameterCount count_parameters(const ModelConfig& config);

}  // namespace fathom
