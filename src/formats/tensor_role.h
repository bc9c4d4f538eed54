// What a tensor is for, by its name in GGUF or in a Hugging Face folder: how headers and costs are counted. Pure
// functions, any thread.
#pragma once
#include <cstdint>
#include <optional>
#include <string_view>

namespace fathom {

/// The layer in "model.layers.3.mlp..." and "blk.3.ffn_...".
std::optional<uint64_t> layer_of(std::string_view name);

bool is_embedding(std::string_view name);
bool is_head(std::string_view name);
/// One of the routed experts' matrices, or a stack of them; not the router, not the shared experts.
bool is_routed(std::string_view name);
/// Scales of FP8 blocks.
bool is_scale(std::string_view name);
/// Vectors that follow from the configuration.
bool is_derived(std::string_view name);
/// Part of a module for multi-token prediction, of a model with so many layers (0: unknown).
bool is_mtp(std::string_view name, uint64_t layers);

}  // namespace fathom
