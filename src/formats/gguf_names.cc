#include "formats/gguf_names.h"

#include <array>
#include <charconv>

#include "base/error.h"

namespace fathom {
namespace {

struct Names {
  std::string_view hf, gguf;
};

constexpr std::array<Names, 4> kModel = {{
    {"model.embed_tokens", "token_embd"},
    {"model.norm", "output_norm"},
    {"lm_head", "output"},
    {"rope_freqs", "rope_freqs"},  // made by converters; it has no other name
}};

constexpr std::array<Names, 29> kLayer = {{
    {"input_layernorm", "attn_norm"},
    {"post_attention_layernorm", "ffn_norm"},
    {"self_attn.q_proj", "attn_q"},
    {"self_attn.k_proj", "attn_k"},
    {"self_attn.v_proj", "attn_v"},
    {"self_attn.o_proj", "attn_output"},
    {"self_attn.q_norm", "attn_q_norm"},
    {"self_attn.k_norm", "attn_k_norm"},
    {"self_attn.q_a_proj", "attn_q_a"},
    {"self_attn.q_a_layernorm", "attn_q_a_norm"},
    {"self_attn.q_b_proj", "attn_q_b"},
    {"self_attn.kv_a_proj_with_mqa", "attn_kv_a_mqa"},
    {"self_attn.kv_a_layernorm", "attn_kv_a_norm"},
    {"self_attn.kv_b_proj", "attn_kv_b"},
    {"self_attn.k_b_proj", "attn_k_b"},
    {"self_attn.v_b_proj", "attn_v_b"},
    {"mlp.gate_proj", "ffn_gate"},
    {"mlp.up_proj", "ffn_up"},
    {"mlp.down_proj", "ffn_down"},
    {"mlp.gate", "ffn_gate_inp"},
    {"mlp.shared_experts.gate_proj", "ffn_gate_shexp"},
    {"mlp.shared_experts.up_proj", "ffn_up_shexp"},
    {"mlp.shared_experts.down_proj", "ffn_down_shexp"},
    {"eh_proj", "nextn.eh_proj"},
    {"enorm", "nextn.enorm"},
    {"hnorm", "nextn.hnorm"},
    {"embed_tokens", "nextn.embed_tokens"},
    {"shared_head.norm", "nextn.shared_head_norm"},
    {"shared_head.head", "nextn.shared_head_head"},
}};

/// Takes "<prefix><number>." from the front of `name`.
std::optional<size_t> take_number(std::string_view& name, std::string_view prefix) {
  if (!name.starts_with(prefix)) return std::nullopt;
  const std::string_view rest = name.substr(prefix.size());
  size_t number = 0;
  const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), number);
  const auto digits = static_cast<size_t>(end - rest.data());
  if (error != std::errc() || digits == rest.size() || *end != '.') return std::nullopt;
  if (digits > 1 && rest[0] == '0') return std::nullopt;  // one name for one tensor
  name = rest.substr(digits + 1);
  return number;
}

template <size_t n>
std::optional<std::string_view> look_up(const std::array<Names, n>& table, std::string_view stem) {
  for (const Names& names : table)
    if (names.hf == stem) return names.gguf;
  return std::nullopt;
}

template <size_t n>
std::optional<std::string_view> look_up_gguf(const std::array<Names, n>& table, std::string_view stem) {
  for (const Names& names : table)
    if (names.gguf == stem) return names.hf;
  return std::nullopt;
}

}  // namespace

std::optional<ExpertName> expert_name(std::string_view name) {
  const std::optional<size_t> layer = take_number(name, "model.layers.");
  if (!layer) return std::nullopt;
  const std::optional<size_t> index = take_number(name, "mlp.experts.");
  if (!index || !name.ends_with(".weight")) return std::nullopt;
  const std::string_view projection = name.substr(0, name.size() - std::string_view(".weight").size());
  if (projection != "gate_proj" && projection != "up_proj" && projection != "down_proj") return std::nullopt;
  return ExpertName{cat("model.layers.", *layer, ".mlp.experts"), *layer, *index, std::string(projection)};
}

std::optional<std::string> gguf_name(std::string_view name) {
  std::string_view rest = name;
  const std::optional<size_t> layer = take_number(rest, "model.layers.");
  if (layer && rest == "mlp.gate.e_score_correction_bias") return cat("blk.", *layer, ".exp_probs_b.bias");
  const size_t dot = rest.rfind('.');
  if (dot == std::string_view::npos) return std::nullopt;
  const std::string_view stem = rest.substr(0, dot), suffix = rest.substr(dot);
  if (suffix != ".weight" && suffix != ".bias") return std::nullopt;
  const std::optional<std::string_view> gguf = layer ? look_up(kLayer, stem) : look_up(kModel, stem);
  if (!gguf) return std::nullopt;
  return layer ? cat("blk.", *layer, ".", *gguf, suffix) : cat(*gguf, suffix);
}

std::optional<std::string> hf_name(std::string_view name) {
  std::string_view rest = name;
  const std::optional<size_t> layer = take_number(rest, "blk.");
  if (layer && rest == "exp_probs_b.bias") return cat("model.layers.", *layer, ".mlp.gate.e_score_correction_bias");
  const size_t dot = rest.rfind('.');
  if (dot == std::string_view::npos) return std::nullopt;
  const std::string_view stem = rest.substr(0, dot), suffix = rest.substr(dot);
  if (suffix != ".weight" && suffix != ".bias") return std::nullopt;
  const std::optional<std::string_view> hf = layer ? look_up_gguf(kLayer, stem) : look_up_gguf(kModel, stem);
  if (!hf) return std::nullopt;
  return layer ? cat("model.layers.", *layer, ".", *hf, suffix) : cat(*hf, suffix);
}

std::optional<ExpertStack> expert_stack(std::string_view name) {
  const std::optional<size_t> layer = take_number(name, "blk.");
  if (!layer) return std::nullopt;
  for (const char* projection : {"gate", "up", "down", "gate_up"})
    if (name == cat("ffn_", projection, "_exps.weight")) return ExpertStack{*layer, projection};
  return std::nullopt;
}

std::string gguf_expert_stack(size_t layer, std::string_view projection) {
  return cat("blk.", layer, ".ffn_", projection.substr(0, projection.find('_')), "_exps.weight");
}

std::string gguf_merged_stack(size_t layer) { return cat("blk.", layer, ".ffn_gate_up_exps.weight"); }

}  // namespace fathom
