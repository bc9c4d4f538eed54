// The hyper-parameters of a model, by config.json's own names, whether they came from config.json or from GGUF
// metadata.
#pragma once
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace fathom {

enum class RopeType { kDefault, kLinear, kLlama3, kYarn };

/// rope_scaling of old configs, rope_parameters of new ones, {a}.rope.* of GGUF.
struct RopeScaling {
  RopeType rope_type = RopeType::kDefault;
  double factor = 1;
  double original_max_position_embeddings = 0;
  double low_freq_factor = 1, high_freq_factor = 4;  // llama3
  double beta_fast = 32, beta_slow = 1;              // yarn
  double mscale = 0, mscale_all_dim = 0;             // yarn of DeepSeek; 0: not given
  std::optional<double> attn_factor,
      attention_factor;  // yarn: cos and sin times attn_factor * (0.1 ln factor + 1), or attention_factor
};

struct ModelConfig {
  std::string model_type;  ///< "llama", "qwen2", "qwen3", "qwen3_moe", "deepseek_v2", "deepseek_v3"
  size_t vocab_size = 0, hidden_size = 0, intermediate_size = 0, num_hidden_layers = 0;
  size_t num_attention_heads = 0, num_key_value_heads = 0;
  size_t head_dim = 0;  ///< of queries and keys; with MLA qk_nope_head_dim + qk_rope_head_dim
  size_t max_position_embeddings = 0;
  double rms_norm_eps = 1e-6, rope_theta = 10000;
  RopeScaling rope_scaling;
  /// Pairs (2i, 2i+1) instead of (i, i + d/2): GGUF's llama (its rows were permuted) and DeepSeek's MLA everywhere.
  bool rope_interleaved = false;
  bool tie_word_embeddings = false;
  bool attention_bias = false;  ///< q, k and v have biases: always for qwen2 (its o has none), else config.json's key

  // Mixture of experts (deepseek_v2, deepseek_v3, qwen3_moe)
  size_t n_routed_experts = 0, num_experts_per_tok = 0, n_shared_experts = 0, moe_intermediate_size = 0;
  size_t first_k_dense_replace = 0, n_group = 1, topk_group = 1;
  std::string scoring_func = "softmax";  ///< "softmax", "sigmoid"
  std::string topk_method = "greedy";    ///< "greedy", "group_limited_greedy", "noaux_tc"
  bool norm_topk_prob = false;
  double routed_scaling_factor = 1;

  // Multi-head latent attention
  size_t q_lora_rank = 0, kv_lora_rank = 0, qk_nope_head_dim = 0, qk_rope_head_dim = 0, v_head_dim = 0;

  size_t num_nextn_predict_layers = 0;  ///< MTP modules that the checkpoint carries
  std::vector<int> eos_token_ids;
  int bos_token_id = -1;

  bool is_mla() const { return kv_lora_rank != 0; }
  bool is_moe_layer(size_t layer) const { return n_routed_experts != 0 && layer >= first_k_dense_replace; }
};

/// Throws Error "<what>: <key>: expected ..., found ..." unless every count is positive and bounded, every division
/// that the models make comes out even, and scoring_func and topk_method go together.
void validate(const ModelConfig& config, std::string_view what);

}  // namespace fathom
