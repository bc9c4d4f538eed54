// Tiny models and an engine around them for the tests of reinforcement. Tests only.
#pragma once
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "engine/engine.h"
#include "train/masters.h"
#include "train/optimizer.h"

namespace fathom::testing {

inline constexpr size_t kVocabulary = 64;

inline ModelConfig tiny_llama() {
  ModelConfig c;
  c.model_type = "llama";
  c.vocab_size = kVocabulary;
  c.hidden_size = 32, c.intermediate_size = 48, c.num_hidden_layers = 2;
  c.num_attention_heads = 4, c.num_key_value_heads = 2, c.head_dim = 8;
  c.max_position_embeddings = 256;
  return c;
}

/// V3's shape: MLA, a dense layer and one of 8 experts with the bias that balances them, an MTP module.
inline ModelConfig tiny_v3() {
  ModelConfig c;
  c.model_type = "deepseek_v3";
  c.vocab_size = kVocabulary;
  c.hidden_size = 32, c.intermediate_size = 48, c.num_hidden_layers = 2;
  c.num_attention_heads = 4, c.num_key_value_heads = 4, c.head_dim = 12;
  c.max_position_embeddings = 256;
  c.rope_interleaved = true;
  c.n_routed_experts = 8, c.num_experts_per_tok = 3, c.n_shared_experts = 1, c.moe_intermediate_size = 16;
  c.first_k_dense_replace = 1, c.n_group = 4, c.topk_group = 2;
  c.scoring_func = "sigmoid", c.topk_method = "noaux_tc";
  c.norm_topk_prob = true, c.routed_scaling_factor = 2.5;
  c.q_lora_rank = 20, c.kv_lora_rank = 12, c.qk_nope_head_dim = 8, c.qk_rope_head_dim = 4, c.v_head_dim = 8;
  c.num_nextn_predict_layers = 1;
  return c;
}

inline ModelConfig tiny_config(const std::string& name) { return name == "v3" ? tiny_v3() : tiny_llama(); }

/// Weights large enough for distributions that are far from flat.
inline Masters tiny_masters(const ModelConfig& config) { return Masters::draw(config, {.std = 0.3, .seed = 3}, 1); }

inline std::unique_ptr<Engine> engine_of(const Masters& masters, const EngineOptions& options = {.threads = 1}) {
  return Engine::from_model(masters.snapshot(1), nullptr, options);
}

/// Prompts of the given lengths, no two with a common beginning.
inline std::vector<std::vector<TokenId>> tiny_prompts(const std::vector<size_t>& lengths) {
  std::vector<std::vector<TokenId>> prompts;
  for (size_t i = 0; i < lengths.size(); ++i)
    for (size_t t = 0; t < lengths[i]; ++t) {
      if (t == 0) prompts.emplace_back();
      prompts.back().push_back(static_cast<TokenId>((7 * i + 31 * t + t * t) % kVocabulary));
    }
  return prompts;
}

}  // namespace fathom::testing
