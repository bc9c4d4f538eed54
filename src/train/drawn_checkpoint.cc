#include "train/drawn_checkpoint.h"

#include <bit>
#include <cmath>
#include <numbers>

#include "base/hash.h"
#include "base/philox.h"
#include "train/masters.h"

namespace fathom {
namespace {

/// The shape of a tensor by the end of its name, outermost dimension first. Source: spec/models.md.
Shape shape_of(std::string_view name, const ModelConfig& c) {
  const size_t D = c.hidden_size, H = c.num_attention_heads, K = c.num_key_value_heads, E = c.n_routed_experts;
  const size_t q = c.is_mla() ? H * (c.qk_nope_head_dim + c.qk_rope_head_dim) : H * c.head_dim, kv = K * c.head_dim;
  const size_t attention_out = c.is_mla() ? H * c.v_head_dim : H * c.head_dim;
  const bool expert = name.find("mlp.experts.") != name.npos, shared = name.find("shared_experts.") != name.npos;
  const size_t F = expert   ? c.moe_intermediate_size
                   : shared ? c.n_shared_experts * c.moe_intermediate_size
                            : c.intermediate_size;
  const struct {
    std::string_view end;
    Shape shape;
  } shapes[] = {
      {"embed_tokens.weight", {c.vocab_size, D}},
      {"lm_head.weight", {c.vocab_size, D}},
      {"mlp.gate.weight", {E, D}},
      {"e_score_correction_bias", {E}},
      {"gate_proj.weight", {F, D}},
      {"up_proj.weight", {F, D}},
      {"down_proj.weight", {D, F}},
      {"q_a_proj.weight", {c.q_lora_rank, D}},
      {"q_b_proj.weight", {q, c.q_lora_rank}},
      {"q_a_layernorm.weight", {c.q_lora_rank}},
      {"kv_a_proj_with_mqa.weight", {c.kv_lora_rank + c.qk_rope_head_dim, D}},
      {"kv_a_layernorm.weight", {c.kv_lora_rank}},
      {"kv_b_proj.weight", {H * (c.qk_nope_head_dim + c.v_head_dim), c.kv_lora_rank}},
      {"q_proj.weight", {q, D}},
      {"k_proj.weight", {kv, D}},
      {"v_proj.weight", {kv, D}},
      {"o_proj.weight", {D, attention_out}},
      {"q_proj.bias", {q}},
      {"k_proj.bias", {kv}},
      {"v_proj.bias", {kv}},
      {"q_norm.weight", {c.head_dim}},
      {"k_norm.weight", {c.head_dim}},
      {"eh_proj.weight", {D, 2 * D}},
      {"enorm.weight", {D}},
      {"hnorm.weight", {D}},
      {"norm.weight", {D}},
      {"layernorm.weight", {D}},
  };
  for (const auto& known : shapes)
    if (name.ends_with(known.end)) return known.shape;
  throw Error(cat("tensor ", name, ": no shape is known for new weights of model_type ", c.model_type));
}

uint64_t key_of(uint64_t seed, std::string_view name) {
  uint64_t hash = 0xcbf29ce484222325;  // FNV-1a: any fixed mixing of the name will do
  for (const char byte : name) hash = (hash ^ static_cast<uint8_t>(byte)) * 0x100000001b3;
  return seed * 0x9E3779B97F4A7C15 ^ hash;
}

/// Two normal numbers from one counter. Source: Box and Muller (1958).
void fill_normal(Tensor& t, uint64_t key, double std) {
  auto* out = t.data<float>();
  for (size_t i = 0; i < t.count(); i += 2) {
    const auto words = philox4x32(key, {static_cast<uint32_t>(i), static_cast<uint32_t>(i >> 32), 0, 0});
    const double u = (static_cast<double>(words[0]) + 1) * 0x1p-32, v = static_cast<double>(words[1]) * 0x1p-32;
    const double radius = std * std::sqrt(-2 * std::log(u)), angle = 2 * std::numbers::pi * v;
    out[i] = static_cast<float>(radius * std::cos(angle));
    if (i + 1 < t.count()) out[i + 1] = static_cast<float>(radius * std::sin(angle));
  }
}

}  // namespace

bool DrawnCheckpoint::has(std::string_view name) const {
  return name.ends_with("eh_proj.weight") || name.ends_with("shared_head.norm.weight");
}

StoredTensor DrawnCheckpoint::find(std::string_view name) const {
  const Shape shape = shape_of(name, config_);
  Tensor t = zeros(DType::kF32, shape);
  if (shape.rank() == 2)
    fill_normal(t, key_of(weights_.seed, name), weights_.std);
  else if (name.ends_with("norm.weight"))
    for (float& x : t.span<float>()) x = 1;
  return {t, {}};
}

}  // namespace fathom
