// The shapes: hyper-parameters as the published config.json files have them.
#include <array>

#include "formats/config_json.h"
#include "quant/synthetic.h"

namespace fathom {
namespace {

constexpr std::array kShapes{
    SyntheticShape{"r1-distill-qwen-1.5b", "qwen2",
                   R"({"model_type":"qwen2","vocab_size":151936,"hidden_size":1536,"intermediate_size":8960,
"num_hidden_layers":28,"num_attention_heads":12,"num_key_value_heads":2,"max_position_embeddings":131072,
"rms_norm_eps":1e-6,"rope_theta":10000,"tie_word_embeddings":false,"bos_token_id":null,"eos_token_id":151643})"},
    SyntheticShape{"r1-distill-qwen-7b", "qwen2",
                   R"({"model_type":"qwen2","vocab_size":152064,"hidden_size":3584,"intermediate_size":18944,
"num_hidden_layers":28,"num_attention_heads":28,"num_key_value_heads":4,"max_position_embeddings":131072,
"rms_norm_eps":1e-6,"rope_theta":10000,"tie_word_embeddings":false,"bos_token_id":null,"eos_token_id":151643})"},
    SyntheticShape{"deepseek-v2-lite", "deepseek-llm",
                   R"({"model_type":"deepseek_v2","vocab_size":102400,"hidden_size":2048,"intermediate_size":10944,
"moe_intermediate_size":1408,"num_hidden_layers":27,"num_attention_heads":16,"num_key_value_heads":16,
"n_shared_experts":2,"n_routed_experts":64,"num_experts_per_tok":6,"first_k_dense_replace":1,"q_lora_rank":null,
"kv_lora_rank":512,"qk_nope_head_dim":128,"qk_rope_head_dim":64,"v_head_dim":128,"norm_topk_prob":false,
"routed_scaling_factor":1.0,"scoring_func":"softmax","topk_method":"greedy","max_position_embeddings":163840,
"rms_norm_eps":1e-6,"rope_theta":10000,"rope_scaling":{"type":"yarn","factor":40,"beta_fast":32,"beta_slow":1,
"mscale":0.707,"mscale_all_dim":0.707,"original_max_position_embeddings":4096},"tie_word_embeddings":false,
"bos_token_id":null,"eos_token_id":100001})"},
    SyntheticShape{"smollm2-135m", "smollm",
                   R"({"model_type":"llama","vocab_size":49152,"hidden_size":576,"intermediate_size":1536,
"num_hidden_layers":30,"num_attention_heads":9,"num_key_value_heads":3,"max_position_embeddings":8192,
"rms_norm_eps":1e-5,"rope_theta":100000,"tie_word_embeddings":true,"bos_token_id":null,"eos_token_id":2047})"},
};

}  // namespace

std::span<const SyntheticShape> synthetic_shapes() { return kShapes; }

const SyntheticShape& find_synthetic_shape(std::string_view name) {
  std::string known;
  for (const SyntheticShape& shape : kShapes) {
    if (name == shape.name) return shape;
    known += cat(known.empty() ? "" : ", ", shape.name);
  }
  throw UsageError(cat("--synthetic: expected one of ", known, ", found '", printable(name), "'"));
}

ModelConfig synthetic_config(const SyntheticShape& shape) {
  const json::value value = parse_json(shape.config_json, shape.name);
  return config_from_json(JsonObject(value, shape.name));
}

}  // namespace fathom
