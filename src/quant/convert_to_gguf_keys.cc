#include "quant/convert_to_gguf_keys.h"

#include <cmath>
#include <map>

#include "formats/json_file.h"
#include "formats/safetensors.h"

namespace fathom {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kMaxTokenizerBytes = uint64_t{128} << 20;

uint32_t file_type(DType type) {
  switch (type) {
    case DType::kF16: return 1;
    case DType::kQ8_0: return 7;
    case DType::kBF16: return 32;
    default: return 0;
  }
}

class ModelKeys {
 public:
  ModelKeys(GgufKeys& keys, const ModelConfig& config, const JsonObject& json, const GgufPlan& plan,
            std::vector<std::string>& notes)
      : keys_(keys), c_(config), json_(json), plan_(plan), notes_(notes), architecture_(gguf_architecture(config)) {}

  void run() {
    count("block_count", c_.num_hidden_layers + plan_.mtp_layers);
    count("context_length", c_.max_position_embeddings);
    count("embedding_length", c_.hidden_size);
    count("feed_forward_length", c_.intermediate_size);
    count("attention.head_count", c_.num_attention_heads);
    count("attention.head_count_kv", c_.is_mla() ? 1 : c_.num_key_value_heads);
    set_rope();
    number("rope.freq_base", c_.rope_theta);
    number("attention.layer_norm_rms_epsilon", c_.rms_norm_eps);
    if (c_.n_routed_experts) set_experts();
    if (has_head_dim()) {
      count("attention.key_length", c_.is_mla() ? c_.kv_lora_rank + c_.qk_rope_head_dim : c_.head_dim);
      count("attention.value_length", c_.is_mla() ? c_.kv_lora_rank : c_.head_dim);
    }
    keys_.set_u32("general.file_type", file_type(plan_.type));
    if (c_.is_mla())
      set_deepseek();
    else if (c_.n_routed_experts)
      set_qwen3_moe();
    else if (c_.model_type == "llama")
      set_llama();
  }

 private:
  void count(std::string_view name, size_t n) {
    keys_.set_u32(cat(architecture_, ".", name), static_cast<uint32_t>(n));  // validate() bounds every size
  }
  void number(std::string_view name, double x) { keys_.set_f32(cat(architecture_, ".", name), static_cast<float>(x)); }

  /// The other architectures' config classes always have one.
  bool has_head_dim() const { return c_.model_type != "qwen2" || json_.has("head_dim"); }

  void set_rope() {
    const RopeScaling& s = c_.rope_scaling;
    if (s.rope_type != RopeType::kLinear && s.rope_type != RopeType::kYarn) return;
    const bool yarn = s.rope_type == RopeType::kYarn;
    keys_.set_string(cat(architecture_, ".rope.scaling.type"), yarn ? "yarn" : "linear");
    number("rope.scaling.factor", s.factor);
    if (!yarn) return;
    if (s.original_max_position_embeddings != std::floor(s.original_max_position_embeddings) ||
        s.original_max_position_embeddings > 0xffffffff)
      throw Error(cat(json_.what(),
                      ": original_max_position_embeddings: expected a whole number of at most 32 bits, found ",
                      s.original_max_position_embeddings));
    count("rope.scaling.original_context_length", static_cast<size_t>(s.original_max_position_embeddings));
    const JsonObject rope = json_.object(json_.has("rope_parameters") ? "rope_parameters" : "rope_scaling");
    if (s.attention_factor || s.attn_factor) set_magnitude(s);
    if (rope.has("beta_fast")) number("rope.scaling.yarn_beta_fast", s.beta_fast);
    if (rope.has("beta_slow")) number("rope.scaling.yarn_beta_slow", s.beta_slow);
  }

  /// cos and sin are multiplied by rope.scaling.attn_factor * (1 + 0.1 ln factor).
  void set_magnitude(const RopeScaling& s) {
    const double by_default = 1 + 0.1 * std::log(s.factor);
    number("rope.scaling.yarn_attn_factor", s.attention_factor.value_or(s.attn_factor.value_or(1)));
    if (c_.is_mla())
      notes_.push_back("attention_factor has no GGUF key for this architecture: readers other than Fathom ignore it");
    else
      number("rope.scaling.attn_factor", s.attention_factor ? *s.attention_factor / by_default : *s.attn_factor);
  }

  void set_experts() {
    count("expert_count", c_.n_routed_experts);
    count("expert_used_count", c_.num_experts_per_tok);
    if (!c_.is_mla()) return;
    count("expert_group_count", c_.n_group);
    count("expert_group_used_count", c_.topk_group);
    count("expert_gating_func", c_.scoring_func == "sigmoid" ? 2 : 1);
    if (c_.n_group > 1 && c_.scoring_func != "sigmoid")
      notes_.push_back(
          "llama.cpp scores groups of experts by another rule than this model's group_limited_greedy: its answers will "
          "differ");
  }

  void set_deepseek() {
    count("leading_dense_block_count", c_.n_routed_experts ? c_.first_k_dense_replace : c_.num_hidden_layers);
    count("vocab_size", c_.vocab_size);
    if (c_.q_lora_rank) count("attention.q_lora_rank", c_.q_lora_rank);
    count("attention.kv_lora_rank", c_.kv_lora_rank);
    count("attention.key_length_mla", c_.qk_nope_head_dim + c_.qk_rope_head_dim);
    count("attention.value_length_mla", c_.v_head_dim);
    count("expert_feed_forward_length", c_.moe_intermediate_size);
    count("expert_shared_count", c_.n_shared_experts);
    number("expert_weights_scale", c_.routed_scaling_factor);
    if (c_.norm_topk_prob) keys_.set_bool(cat(architecture_, ".expert_weights_norm"), true);
    count("rope.dimension_count", c_.qk_rope_head_dim);
    const RopeScaling& s = c_.rope_scaling;
    if (s.mscale_all_dim != 0) number("rope.scaling.yarn_log_multiplier", 0.1 * s.mscale_all_dim);
    if (s.rope_type == RopeType::kYarn && s.mscale != s.mscale_all_dim)
      notes_.push_back(cat("mscale ", s.mscale, " beside mscale_all_dim ", s.mscale_all_dim,
                           " has no GGUF key: readers take them for equal"));
    if (plan_.mtp_layers) count("nextn_predict_layers", plan_.mtp_layers);
  }

  void set_qwen3_moe() {
    count("expert_feed_forward_length", c_.moe_intermediate_size);
    if (c_.norm_topk_prob) return;
    keys_.set_bool(cat(architecture_, ".expert_weights_norm"), false);
    notes_.push_back("norm_topk_prob is false here, but llama.cpp always divides by the sum of the chosen experts");
  }

  void set_llama() {
    count("vocab_size", c_.vocab_size);
    count("rope.dimension_count", c_.head_dim);
  }

  GgufKeys& keys_;
  const ModelConfig& c_;
  const JsonObject& json_;
  const GgufPlan& plan_;
  std::vector<std::string>& notes_;
  std::string architecture_;
};

std::string stored_types(const Checkpoint& checkpoint) {
  std::map<std::string, std::vector<std::string>> by_type;
  for (const TensorInfo& t : checkpoint.tensors())
    if (!t.name.ends_with("_scale_inv"))
      by_type[std::string(safetensors_name(t.dtype).value_or("?"))].push_back(t.name);
  auto most = by_type.begin();
  for (auto it = by_type.begin(); it != by_type.end(); ++it)
    if (it->second.size() > most->second.size()) most = it;
  if (most == by_type.end()) return "{}";
  json::object out{{"default", most->first}};
  for (const auto& [type, names] : by_type)
    if (type != most->first) out[type] = json::array(names.begin(), names.end());
  return to_json(out);
}

/// tokenizer.json without the pieces and merges that tokenizer.ggml.* has.
std::string tokenizer_frame(const fs::path& path) {
  json::value value = read_bounded_json(path, kMaxTokenizerBytes);
  const JsonObject root(value, path.string());
  const JsonObject model = root.object("model");
  json::object pieces;
  if (root.has("added_tokens"))
    for (const json::value& token : root.array("added_tokens")) {
      const std::string text = JsonObject(token, root.what()).string("content");
      if (const json::value* id = model.object("vocab").find(text)) pieces[text] = *id;
    }
  json::object& out = value.as_object()["model"].as_object();
  out["vocab"] = std::move(pieces);
  out["merges"] = json::array();
  return to_json(value);
}

}  // namespace

std::string gguf_architecture(const ModelConfig& config) {
  if (config.is_mla()) return "deepseek2";
  if (config.model_type == "qwen3_moe") return "qwen3moe";
  for (const char* same : {"llama", "qwen2", "qwen3"})
    if (config.model_type == same) return same;
  throw Error(cat("model_type ", printable(config.model_type), " has no GGUF architecture"));
}

void set_model_keys(GgufKeys& keys, const ModelConfig& config, const JsonObject& config_json, const GgufPlan& plan,
                    std::vector<std::string>& notes) {
  ModelKeys(keys, config, config_json, plan, notes).run();
}

void set_fathom_keys(GgufKeys& keys, const fs::path& folder, const Checkpoint& checkpoint) {
  for (const char* name : {"config.json", "generation_config.json", "tokenizer_config.json", "special_tokens_map.json"})
    if (fs::exists(folder / name))
      keys.set_string(cat("fathom.hf.", name), read_text_file(folder / name, kMaxConfigBytes));
  if (fs::exists(folder / "tokenizer.json"))
    keys.set_string("fathom.hf.tokenizer.json", tokenizer_frame(folder / "tokenizer.json"));
  if (keys.has("tokenizer.chat_template"))
    keys.set_string("fathom.hf.chat_template",
                    fs::exists(folder / "chat_template.jinja") ? "chat_template.jinja" : "tokenizer_config.json");
  keys.set_string("fathom.hf.dtypes", stored_types(checkpoint));
}

}  // namespace fathom
