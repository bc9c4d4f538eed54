#include "quant/convert_to_hf_config.h"

#include <algorithm>
#include <cmath>

#include "formats/config_gguf.h"
#include "formats/config_json.h"
#include "quant/convert_safetensors_config.h"
#include "quant/convert_to_gguf_data.h"

namespace fathom {
namespace {

struct Field {
  const char* key;
  json::value value;
};

bool same_number(double a, double b) { return static_cast<float>(a) == static_cast<float>(b); }  // GGUF has f32

bool same(const json::value& a, const json::value& b) {
  if (a.is_number() && b.is_number()) return same_number(a.to_number<double>(), b.to_number<double>());
  return a == b;
}

/// What GGUF's keys can say, under config.json's names; other keys' values are not compared.
std::vector<Field> fields_of(const ModelConfig& c, const GgufMetadata& m) {
  std::vector<Field> fields;
  const auto add = [&](const char* key, json::value value) { fields.push_back({key, std::move(value)}); };
  add("vocab_size", c.vocab_size);
  add("hidden_size", c.hidden_size);
  add("intermediate_size", c.intermediate_size);
  add("num_hidden_layers", c.num_hidden_layers);
  add("num_attention_heads", c.num_attention_heads);
  add("num_key_value_heads", c.num_key_value_heads);
  add("max_position_embeddings", c.max_position_embeddings);
  add("rms_norm_eps", c.rms_norm_eps);
  add("rope_theta", c.rope_theta);
  add("tie_word_embeddings", c.tie_word_embeddings);
  add("attention_bias", c.attention_bias);
  if (c.n_routed_experts) {
    add("num_experts_per_tok", c.num_experts_per_tok);
    add("moe_intermediate_size", c.moe_intermediate_size);
  }
  if (c.model_type == "qwen3_moe") {
    add("num_experts", c.n_routed_experts);
    if (m.has("qwen3moe.expert_weights_norm")) add("norm_topk_prob", c.norm_topk_prob);
  }
  if (!c.is_mla()) {
    add("head_dim", c.head_dim);
    return fields;
  }
  add("q_lora_rank", c.q_lora_rank ? json::value(c.q_lora_rank) : json::value(nullptr));
  add("kv_lora_rank", c.kv_lora_rank);
  add("qk_nope_head_dim", c.qk_nope_head_dim);
  add("qk_rope_head_dim", c.qk_rope_head_dim);
  add("v_head_dim", c.v_head_dim);
  add("n_routed_experts", c.n_routed_experts);
  add("n_shared_experts", c.n_shared_experts);
  add("first_k_dense_replace", c.first_k_dense_replace);
  add("scoring_func", json::string(c.scoring_func));
  add("norm_topk_prob", c.norm_topk_prob);
  add("routed_scaling_factor", c.routed_scaling_factor);
  add("num_nextn_predict_layers", c.num_nextn_predict_layers);
  if (m.has("deepseek2.expert_group_count")) {
    add("n_group", c.n_group);
    add("topk_group", c.topk_group);
  }
  return fields;
}

bool same_scaling(const RopeScaling& kept, const RopeScaling& gguf) {
  if (kept.rope_type != gguf.rope_type) return false;
  if (gguf.rope_type == RopeType::kDefault) return true;
  const auto same_field = [&](double RopeScaling::*field) { return same_number(kept.*field, gguf.*field); };
  if (!same_field(&RopeScaling::factor)) return false;
  if (gguf.rope_type == RopeType::kLinear) return true;
  if (!same_field(&RopeScaling::original_max_position_embeddings)) return false;
  if (gguf.rope_type == RopeType::kLlama3)
    return same_field(&RopeScaling::low_freq_factor) && same_field(&RopeScaling::high_freq_factor);
  // mscale_all_dim travels as a tenth of it in f32
  return same_field(&RopeScaling::beta_fast) && same_field(&RopeScaling::beta_slow) &&
         std::fabs(kept.mscale_all_dim - gguf.mscale_all_dim) <= 1e-6;
}

json::object scaling_json(const ModelConfig& c) {
  const RopeScaling& s = c.rope_scaling;
  const char* names[] = {"default", "linear", "llama3", "yarn"};
  json::object out{{c.is_mla() ? "type" : "rope_type", names[static_cast<size_t>(s.rope_type)]}, {"factor", s.factor}};
  if (s.rope_type == RopeType::kLinear) return out;
  out["original_max_position_embeddings"] = static_cast<int64_t>(s.original_max_position_embeddings);
  if (s.rope_type == RopeType::kLlama3) {
    out["low_freq_factor"] = s.low_freq_factor;
    out["high_freq_factor"] = s.high_freq_factor;
    return out;
  }
  out["beta_fast"] = s.beta_fast;
  out["beta_slow"] = s.beta_slow;
  if (s.mscale_all_dim != 0) {
    out["mscale"] = std::round(s.mscale * 1e6) / 1e6;
    out["mscale_all_dim"] = std::round(s.mscale_all_dim * 1e6) / 1e6;
  }
  if (s.attn_factor) out["attn_factor"] = *s.attn_factor;
  if (s.attention_factor) out["attention_factor"] = *s.attention_factor;
  return out;
}

/// GGUF's llama3 scaling is a tensor, so its keys alone read as no scaling.
void add_llama3(ModelConfig& c, const Checkpoint& checkpoint, const std::optional<ModelConfig>& kept,
                std::vector<std::string>& notes) {
  if (!checkpoint.has("rope_freqs.weight")) return;
  const Tensor freqs = checkpoint.find("rope_freqs.weight").data;
  const std::string name = "tensor rope_freqs.weight";
  if (freqs.dtype() != DType::kF32) throw Error(cat(name, ": expected F32, found ", freqs.dtype()));
  require_shape("rope_freqs.weight", freqs, {c.head_dim / 2});
  if (kept && kept->rope_scaling.rope_type == RopeType::kLlama3 && kept->head_dim == c.head_dim) {
    c.rope_scaling = kept->rope_scaling;
    const std::vector<float> want = llama3_rope_freqs(c);
    bool equal = true;
    for (size_t i = 0; i < want.size(); ++i) equal = equal && std::fabs(freqs.data<float>()[i] / want[i] - 1) < 1e-5f;
    if (equal) return;
  }
  const std::optional<RopeScaling> found = llama3_from_rope_freqs(c, freqs);
  if (!found)
    throw Error(cat(name,
                    ": expected the frequencies of a rope_scaling of type llama3, found others: config.json "
                    "cannot express them"));
  c.rope_scaling = *found;
  notes.push_back(cat("rope_scaling was found from rope_freqs.weight: llama3, factor ", found->factor,
                      ", original_max_position_embeddings ", found->original_max_position_embeddings));
}

/// config.json from GGUF's keys alone.
json::object config_from_keys(const ModelConfig& c, const GgufMetadata& m) {
  static const std::pair<const char*, const char*> kArchitectures[] = {{"llama", "LlamaForCausalLM"},
                                                                       {"qwen2", "Qwen2ForCausalLM"},
                                                                       {"qwen3", "Qwen3ForCausalLM"},
                                                                       {"qwen3_moe", "Qwen3MoeForCausalLM"},
                                                                       {"deepseek_v2", "DeepseekV2ForCausalLM"},
                                                                       {"deepseek_v3", "DeepseekV3ForCausalLM"}};
  json::object o;
  for (const auto& [type, architecture] : kArchitectures)
    if (c.model_type == type) o["architectures"] = json::array{architecture};
  o["model_type"] = c.model_type;
  o["hidden_act"] = "silu";
  for (Field& field : fields_of(c, m)) o[field.key] = std::move(field.value);
  if (c.is_mla()) {
    o["topk_method"] = c.topk_method;
    o["n_group"] = c.n_group;
    o["topk_group"] = c.topk_group;
    o["moe_layer_freq"] = 1;
  }
  if (c.model_type == "qwen3_moe") {
    o["norm_topk_prob"] = c.norm_topk_prob;
    o["decoder_sparse_step"] = 1;
    o["mlp_only_layers"] = json::array();
  }
  if (c.model_type.starts_with("qwen")) o["use_sliding_window"] = false;
  if (c.model_type == "qwen2") o.erase("attention_bias");  // always there, and no key of this class
  if (c.rope_scaling.rope_type != RopeType::kDefault) o["rope_scaling"] = scaling_json(c);
  if (c.bos_token_id >= 0) o["bos_token_id"] = c.bos_token_id;
  if (c.eos_token_ids.size() == 1) o["eos_token_id"] = c.eos_token_ids[0];
  if (c.eos_token_ids.size() > 1) o["eos_token_id"] = json::array(c.eos_token_ids.begin(), c.eos_token_ids.end());
  return o;
}

std::string unknown_note(const ModelConfig& c) {
  std::string unknown = "initializer_range, attention_dropout, use_cache";
  if (c.is_mla()) unknown += ", topk_method, aux_loss_alpha, seq_aux";
  std::string note =
      cat("config.json was made from the file's keys, which do not say: ", unknown, "; loaders take their defaults");
  if (c.is_mla()) note += cat("; topk_method is ", c.topk_method, " by the kind of gating");
  if (c.rope_scaling.mscale_all_dim != 0) note += "; mscale is taken equal to mscale_all_dim";
  if (c.rope_scaling.rope_type == RopeType::kYarn && !c.is_mla() && !c.rope_scaling.attn_factor)
    note += "; attn_factor may have been another than 1";
  return note;
}

json::value value_of(const std::optional<double>& x) { return x ? json::value(*x) : json::value(nullptr); }

/// Puts GGUF's values where the kept config has others; the names of those fields.
std::string reconcile(json::object& object, const ModelConfig& kept, const ModelConfig& c, const GgufMetadata& m) {
  std::string changed;
  const auto name = [&](std::string_view key) { changed += cat(changed.empty() ? "" : ", ", key); };
  const std::vector<Field> ours = fields_of(c, m), theirs = fields_of(kept, m);
  for (const Field& field : ours) {
    // Copies of a checkpoint often leave MTP modules out that their config.json still names.
    if (std::string_view(field.key) == "num_nextn_predict_layers" && c.num_nextn_predict_layers == 0) continue;
    const auto it = std::find_if(theirs.begin(), theirs.end(),
                                 [&](const Field& f) { return std::string_view(f.key) == field.key; });
    if (it != theirs.end() && same(it->value, field.value)) continue;
    json::object* rope = nullptr;  // transformers 5 keeps rope_theta inside rope_parameters
    if (std::string_view(field.key) == "rope_theta" && object.contains("rope_parameters"))
      rope = object["rope_parameters"].if_object();
    (rope ? *rope : object)[field.key] = field.value;
    name(field.key);
  }
  const std::optional<double>&theirs_magnitude = kept.rope_scaling.attn_factor, &magnitude = c.rope_scaling.attn_factor;
  const bool same_magnitude = !theirs_magnitude || !magnitude || same_number(*theirs_magnitude, *magnitude);
  if (!same_magnitude || !same_scaling(kept.rope_scaling, c.rope_scaling)) {
    const char* key = object.contains("rope_parameters") ? "rope_parameters" : "rope_scaling";
    json::object scaling = scaling_json(c);
    if (std::string_view(key) == "rope_parameters") {
      scaling["rope_type"] = scaling.contains("type") ? scaling["type"] : scaling["rope_type"];
      scaling["rope_theta"] = c.rope_theta;
    }
    object[key] = c.rope_scaling.rope_type == RopeType::kDefault && std::string_view(key) == "rope_scaling"
                      ? json::value(nullptr)
                      : json::value(std::move(scaling));
    name(key);
  }
  return changed;
}

}  // namespace

std::optional<RopeScaling> llama3_from_rope_freqs(const ModelConfig& config, const Tensor& rope_freqs) {
  const std::span<const float> freqs = rope_freqs.span<const float>();
  ModelConfig c = config;
  RopeScaling& s = c.rope_scaling;
  s = RopeScaling();  // low_freq_factor 1, high_freq_factor 4
  s.rope_type = RopeType::kLlama3;
  for (const float f : freqs) s.factor = std::max(s.factor, static_cast<double>(f));
  for (double original = 16; original <= 0x1p24; original *= 2) {
    s.original_max_position_embeddings = original;
    const std::vector<float> want = llama3_rope_freqs(c);
    bool equal = want.size() == freqs.size();
    for (size_t i = 0; equal && i < want.size(); ++i) equal = std::fabs(freqs[i] / want[i] - 1) < 1e-5f;
    if (equal) return s;
  }
  return std::nullopt;
}

std::string hf_config(const GgufFile& file, const Checkpoint& checkpoint, DType type, std::vector<std::string>& notes) {
  const GgufMetadata& m = file.metadata();
  ModelConfig c = checkpoint.config();
  const std::optional<std::string> text = m.string("fathom.hf.config.json");
  std::optional<ModelConfig> kept;
  json::value value;
  if (text) try {
      value = parse_json(*text, cat(m.what(), ": key fathom.hf.config.json"));
      kept = config_from_json(JsonObject(value, "fathom.hf.config.json"));
      if (kept->model_type != c.model_type) {
        notes.push_back(cat("fathom.hf.config.json is not used: it says model_type ", kept->model_type,
                            ", the file's keys ", c.model_type));
        kept.reset();
      }
    } catch (const Error& e) {
      notes.push_back(cat("fathom.hf.config.json is not used: ", e.what()));
    }
  add_llama3(c, checkpoint, kept, notes);
  if (!kept) {
    value = config_from_keys(c, m);
    set_torch_dtype(value.as_object(), type);
    notes.push_back(unknown_note(c));
    return config_text(value);
  }
  json::object& object = value.as_object();
  if (kept->num_nextn_predict_layers != 0 && c.num_nextn_predict_layers == 0)
    notes.push_back(cat("config.json names ", kept->num_nextn_predict_layers, " MTP modules, which the file lacks"));
  const std::string changed = reconcile(object, *kept, c, m);
  if (!changed.empty())
    notes.push_back(cat("config.json: the file's own keys contradict what it kept, and win: ", changed));
  bool edited = !changed.empty();
  if (object.erase("quantization_config")) {
    notes.push_back("config.json: quantization_config is left out, since the weights are plain now");
    edited = true;
  }
  if (object.contains("torch_dtype") || object.contains("dtype")) {
    const bool other = set_torch_dtype(object, type);
    if (other) notes.push_back(cat("config.json: torch_dtype is ", torch_dtype(type), " now, as the weights"));
    edited = edited || other;
  }
  return edited ? config_text(value) : *text;
}

std::optional<std::string> hf_generation_config(const GgufMetadata& metadata, const Checkpoint& checkpoint,
                                                std::vector<std::string>& notes) {
  const GenerationConfig ours = generation_config_from_gguf(metadata);
  const std::optional<std::string> text = metadata.string("fathom.hf.generation_config.json");
  json::object object;
  if (text) {
    const json::value value = parse_json(*text, cat(metadata.what(), ": key fathom.hf.generation_config.json"));
    object = JsonObject(value, "fathom.hf.generation_config.json").raw();
  }
  std::string changed;
  const auto set = [&](const char* key, const json::value& value) {
    const json::value* kept = object.if_contains(key);
    if (value.is_null() || (kept && same(*kept, value))) return;
    object[key] = value;
    changed += cat(changed.empty() ? "" : ", ", key);
  };
  if (!text) {
    const ModelConfig& c = checkpoint.config();
    if (c.bos_token_id >= 0) object["bos_token_id"] = c.bos_token_id;
    if (!c.eos_token_ids.empty()) object["eos_token_id"] = json::array(c.eos_token_ids.begin(), c.eos_token_ids.end());
    if (ours.temperature || ours.top_p || ours.top_k || ours.min_p) object["do_sample"] = true;
  }
  set("temperature", value_of(ours.temperature));
  set("top_p", value_of(ours.top_p));
  set("min_p", value_of(ours.min_p));
  set("top_k", ours.top_k ? json::value(*ours.top_k) : json::value(nullptr));
  if (text && changed.empty()) return text;
  if (text) notes.push_back(cat("generation_config.json: the file's own keys win: ", changed));
  if (object.empty()) return std::nullopt;
  return config_text(object);
}

}  // namespace fathom
