#include "formats/tensor_role.h"

#include <charconv>

namespace fathom {
namespace {

bool contains(std::string_view name, std::string_view part) { return name.find(part) != std::string_view::npos; }

}  // namespace

std::optional<uint64_t> layer_of(std::string_view name) {
  for (std::string_view prefix : {std::string_view("model.layers."), std::string_view("blk.")}) {
    if (!name.starts_with(prefix)) continue;
    uint64_t layer = 0;
    const char* begin = name.data() + prefix.size();
    const auto [end, error] = std::from_chars(begin, name.data() + name.size(), layer);
    if (error == std::errc() && end != begin) return layer;
  }
  return std::nullopt;
}

bool is_embedding(std::string_view name) { return name == "token_embd.weight" || name == "model.embed_tokens.weight"; }
bool is_head(std::string_view name) { return name == "output.weight" || name == "lm_head.weight"; }
bool is_routed(std::string_view name) {
  return contains(name, ".mlp.experts.") || contains(name, "_exps.");  // ffn_gate_exps, not ffn_gate_shexp
}
bool is_scale(std::string_view name) { return name.ends_with("_scale_inv") || name.ends_with("weight_scale"); }
bool is_derived(std::string_view name) { return name == "rope_freqs.weight" || name.ends_with(".inv_freq"); }
bool is_mtp(std::string_view name, uint64_t layers) {
  const std::optional<uint64_t> layer = layer_of(name);
  return contains(name, ".nextn.") || (layers && layer && *layer >= layers);
}

}  // namespace fathom
