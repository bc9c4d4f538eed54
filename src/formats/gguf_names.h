// Hugging Face tensor names to GGUF's (spec/gguf.md 3). Called by formats/gguf_checkpoint.cc and by GGUF writers.
// No state: thread-safe.
#pragma once
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace fathom {

/// "model.layers.3.mlp.experts.5.gate_proj.weight" taken apart.
struct ExpertName {
  std::string stack;       ///< "model.layers.3.mlp.experts"
  size_t layer, index;     ///< 3, 5
  std::string projection;  ///< "gate_proj", "up_proj", "down_proj"
};
/// nullopt: not the name of one expert's weight.
std::optional<ExpertName> expert_name(std::string_view name);

/// GGUF's name of a tensor that both formats store alike; nullopt for one expert's weight and for names that have no
/// counterpart. "model.layers.N.eh_proj.weight" becomes "blk.N.nextn.eh_proj.weight".
std::optional<std::string> gguf_name(std::string_view name);

/// The other way round: the Hugging Face name of a GGUF tensor, or nullopt (also for stacks of experts).
std::optional<std::string> hf_name(std::string_view name);

/// "blk.3.ffn_gate_exps.weight" taken apart.
struct ExpertStack {
  size_t layer;
  std::string projection;  ///< "gate", "up", "down", "gate_up"
};
/// nullopt: not the GGUF name of a stack of experts.
std::optional<ExpertStack> expert_stack(std::string_view name);

/// "blk.3.ffn_gate_exps.weight"
std::string gguf_expert_stack(size_t layer, std::string_view projection);
/// "blk.3.ffn_gate_up_exps.weight": gate rows, then up rows.
std::string gguf_merged_stack(size_t layer);

}  // namespace fathom
