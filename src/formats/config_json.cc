#include "formats/config_json.h"

#include <algorithm>
#include <array>
#include <climits>
#include <cmath>

namespace fathom {
namespace {

/// What transformers' config classes assume where config.json is silent.
struct Defaults {
  const char* model_type;
  size_t vocab_size, hidden_size, intermediate_size, num_hidden_layers, num_attention_heads;
  size_t num_key_value_heads;  // 0: as num_attention_heads
  size_t head_dim;             // 0: hidden_size / num_attention_heads
  size_t max_position_embeddings;
  int bos, eos;  // -1: none
};
constexpr std::array<Defaults, 6> kDefaults = {{
    {"llama", 32000, 4096, 11008, 32, 32, 0, 0, 2048, 1, 2},
    {"qwen2", 151936, 4096, 22016, 32, 32, 32, 0, 32768, -1, -1},
    {"qwen3", 151936, 4096, 22016, 32, 32, 32, 128, 32768, -1, -1},
    {"qwen3_moe", 151936, 2048, 6144, 24, 32, 4, 0, 32768, -1, -1},
    {"deepseek_v2", 32000, 4096, 11008, 32, 32, 0, 0, 2048, 1, 2},
    {"deepseek_v3", 129280, 7168, 18432, 61, 128, 128, 0, 4096, 0, 1},
}};

const Defaults& defaults_of(const JsonObject& object) {
  const std::string type = object.string("model_type");
  std::string known;
  for (const Defaults& d : kDefaults) {
    if (type == d.model_type) return d;
    known += cat(known.empty() ? "" : ", ", d.model_type);
  }
  throw Error(cat(object.what(), ": model_type ", printable(type), " is not known (", known, " are)"));
}

class Reader {
 public:
  explicit Reader(const JsonObject& object) : o_(object), d_(defaults_of(object)) {}

  ModelConfig read() {
    c_.model_type = d_.model_type;
    refuse_unbuilt();
    read_sizes();
    read_rope();
    if (is_deepseek()) read_deepseek();
    if (c_.model_type == "qwen3_moe") read_qwen3_moe();
    if (!c_.is_mla() && !c_.head_dim && c_.num_attention_heads) c_.head_dim = head_dim();
    read_tokens();
    validate(c_, o_.what());
    return c_;
  }

 private:
  bool is_deepseek() const { return c_.model_type.starts_with("deepseek"); }
  bool given(std::string_view key) const { return o_.raw().contains(key); }

  size_t count(std::string_view key, size_t fallback) const {
    if (!o_.has(key)) return fallback;
    const int64_t n = o_.integer(key);
    if (n < 0) throw Error(cat(o_.what(), ": ", key, ": expected a number from 0 on, found ", n));
    return static_cast<size_t>(n);
  }

  /// Without a head_dim of its own, the heads must share hidden_size evenly.
  size_t head_dim() const {
    if (c_.hidden_size % c_.num_attention_heads != 0)
      throw Error(cat(o_.what(), ": num_attention_heads: expected a divisor of hidden_size, ", c_.hidden_size,
                      ", found ", c_.num_attention_heads));
    return c_.hidden_size / c_.num_attention_heads;
  }

  void refuse_unbuilt() const {
    const auto refuse = [&](bool wrong, const char* key, const char* expected) {
      if (wrong)
        throw Error(cat(o_.what(), ": ", key, ": expected ", expected, ", found ", printable(to_json(*o_.find(key)))));
    };
    refuse(o_.string_or("hidden_act", "silu") != "silu", "hidden_act", "silu");
    refuse(o_.boolean_or("use_sliding_window", false), "use_sliding_window", "false (sliding windows are not built)");
    refuse(o_.boolean_or("mlp_bias", false), "mlp_bias", "false");
    refuse(o_.number_or("partial_rotary_factor", 1) != 1, "partial_rotary_factor", "1");
    if (!o_.has("quantization_config")) return;
    const JsonObject q = o_.object("quantization_config");
    const std::string method = q.string_or("quant_method", "none given");
    if (method != "fp8")
      throw Error(cat(q.what(), ": quant_method: expected fp8 (or a GGUF file instead), found ", printable(method)));
    if (q.string_or("fmt", "e4m3") != "e4m3")
      throw Error(cat(q.what(), ": fmt: expected e4m3, found ", printable(q.string("fmt"))));
    const json::value* block = q.find("weight_block_size");
    if (!block || *block != json::value{128, 128})
      throw Error(cat(q.what(), ": weight_block_size: expected [128,128], found ",
                      block ? printable(to_json(*block)) : "none"));
  }

  void read_sizes() {
    c_.vocab_size = count("vocab_size", d_.vocab_size);
    c_.hidden_size = count("hidden_size", d_.hidden_size);
    c_.intermediate_size = count("intermediate_size", d_.intermediate_size);
    c_.num_hidden_layers = count("num_hidden_layers", d_.num_hidden_layers);
    c_.num_attention_heads = count("num_attention_heads", d_.num_attention_heads);
    // null means one per query head, a missing key the class's default.
    const size_t kv =
        given("num_key_value_heads") || !d_.num_key_value_heads ? c_.num_attention_heads : d_.num_key_value_heads;
    c_.num_key_value_heads = count("num_key_value_heads", kv);
    c_.head_dim = count("head_dim", d_.head_dim);
    c_.max_position_embeddings = count("max_position_embeddings", d_.max_position_embeddings);
    c_.rms_norm_eps = o_.number_or("rms_norm_eps", 1e-6);
    c_.tie_word_embeddings = o_.boolean_or("tie_word_embeddings", false);
    c_.attention_bias = c_.model_type == "qwen2" || o_.boolean_or("attention_bias", false);
    if (c_.attention_bias && c_.model_type.starts_with("deepseek"))
      throw Error(cat(o_.what(), ": attention_bias: expected false for ", c_.model_type, ", found true"));
  }

  void read_rope() {
    c_.rope_theta = o_.number_or("rope_theta", 10000);
    const char* key = o_.has("rope_parameters") ? "rope_parameters" : "rope_scaling";
    if (!o_.has(key)) return;
    const JsonObject r = o_.object(key);
    c_.rope_theta = r.number_or("rope_theta", c_.rope_theta);
    if (r.number_or("partial_rotary_factor", 1) != 1)
      throw Error(cat(r.what(), ": partial_rotary_factor: expected 1, found ", r.number("partial_rotary_factor")));
    RopeScaling& s = c_.rope_scaling;
    const std::string type = r.string_or("rope_type", r.string_or("type", "default"));
    if (type == "default") return;
    if (type == "linear")
      s.rope_type = RopeType::kLinear;
    else if (type == "llama3")
      s.rope_type = RopeType::kLlama3;
    else if (type == "yarn")
      s.rope_type = RopeType::kYarn;
    else
      throw Error(cat(r.what(), ": rope_type: expected default, linear, llama3 or yarn, found ", printable(type)));
    s.factor = r.number("factor");
    const bool llama3 = s.rope_type == RopeType::kLlama3;
    s.original_max_position_embeddings = r.number_or("original_max_position_embeddings",
                                                     llama3 ? 8192 : static_cast<double>(c_.max_position_embeddings));
    s.low_freq_factor = r.number_or("low_freq_factor", s.low_freq_factor);
    s.high_freq_factor = r.number_or("high_freq_factor", s.high_freq_factor);
    s.beta_fast = r.number_or("beta_fast", s.beta_fast);
    s.beta_slow = r.number_or("beta_slow", s.beta_slow);
    s.mscale = r.number_or("mscale", 0);
    s.mscale_all_dim = r.number_or("mscale_all_dim", 0);
    if (r.has("attn_factor")) s.attn_factor = r.number("attn_factor");
    if (r.has("attention_factor")) s.attention_factor = r.number("attention_factor");
    if (!r.boolean_or("truncate", true)) throw Error(cat(r.what(), ": truncate: expected true, found false"));
  }

  void read_deepseek() {
    const bool v3 = c_.model_type == "deepseek_v3";
    // A q_lora_rank of null means a plain q_proj; a missing key means the class's default.
    c_.q_lora_rank = count("q_lora_rank", given("q_lora_rank") ? 0 : 1536);
    c_.kv_lora_rank = count("kv_lora_rank", 512);
    c_.qk_nope_head_dim = count("qk_nope_head_dim", 128);
    c_.qk_rope_head_dim = count("qk_rope_head_dim", 64);
    c_.v_head_dim = count("v_head_dim", 128);
    if (c_.kv_lora_rank == 0) throw Error(cat(o_.what(), ": kv_lora_rank: expected a positive number, found 0"));
    if (c_.num_key_value_heads != c_.num_attention_heads)
      throw Error(cat(o_.what(), ": num_key_value_heads: expected num_attention_heads, ", c_.num_attention_heads,
                      ", found ", c_.num_key_value_heads));
    c_.head_dim = c_.qk_nope_head_dim + c_.qk_rope_head_dim;
    c_.rope_interleaved = o_.boolean_or("rope_interleave", true);
    c_.n_routed_experts = count("n_routed_experts", count("num_local_experts", v3 ? 256 : 64));
    c_.num_experts_per_tok = count("num_experts_per_tok", v3 ? 8 : 0);
    c_.n_shared_experts = count("n_shared_experts", v3 ? 1 : 2);
    c_.moe_intermediate_size = count("moe_intermediate_size", v3 ? 2048 : 1407);
    c_.first_k_dense_replace = count("first_k_dense_replace", v3 ? 3 : 0);
    c_.n_group = count("n_group", v3 ? 8 : 1);
    c_.topk_group = count("topk_group", v3 ? 4 : 1);
    c_.scoring_func = o_.string_or("scoring_func", v3 ? "sigmoid" : "softmax");
    c_.topk_method = o_.string_or("topk_method", v3 ? "noaux_tc" : "greedy");
    c_.norm_topk_prob = o_.boolean_or("norm_topk_prob", v3);
    c_.routed_scaling_factor = o_.number_or("routed_scaling_factor", v3 ? 2.5 : 1.0);
    c_.num_nextn_predict_layers = count("num_nextn_predict_layers", 0);
    one("moe_layer_freq");
  }

  void read_qwen3_moe() {
    c_.n_routed_experts = count("num_experts", count("num_local_experts", 128));
    c_.num_experts_per_tok = count("num_experts_per_tok", 8);
    c_.moe_intermediate_size = count("moe_intermediate_size", 768);
    c_.norm_topk_prob = o_.boolean_or("norm_topk_prob", false);
    one("decoder_sparse_step");
    if (o_.has("mlp_only_layers") && !o_.array("mlp_only_layers").empty())
      throw Error(cat(o_.what(),
                      ": mlp_only_layers: expected an empty list (dense layers between are not built), found ",
                      printable(to_json(*o_.find("mlp_only_layers")))));
    if (c_.n_routed_experts == 0) throw Error(cat(o_.what(), ": num_experts: expected a positive number, found 0"));
  }

  void one(std::string_view key) const {
    if (const size_t n = count(key, 1); n != 1)
      throw Error(cat(o_.what(), ": ", key, ": expected 1 (experts in every layer), found ", n));
  }

  void read_tokens() {
    c_.eos_token_ids = token_ids(o_, "eos_token_id");
    if (!given("eos_token_id") && d_.eos >= 0) c_.eos_token_ids = {d_.eos};
    const std::vector<int> bos = token_ids(o_, "bos_token_id");
    c_.bos_token_id = bos.empty() ? -1 : bos[0];
    if (!given("bos_token_id")) c_.bos_token_id = d_.bos;
  }

  const JsonObject& o_;
  const Defaults& d_;
  ModelConfig c_;
};

}  // namespace

std::vector<int> token_ids(const JsonObject& object, std::string_view key) {
  std::vector<int> ids;
  const json::value* value = object.find(key);
  if (!value) return ids;
  const auto add = [&](const json::value& id) {
    if (!id.is_int64() || id.get_int64() < 0 || id.get_int64() > INT_MAX)
      throw Error(cat(object.what(), ": ", key, ": expected token ids, found ", printable(to_json(id))));
    ids.push_back(static_cast<int>(id.get_int64()));
  };
  if (const json::array* list = value->if_array()) {
    for (const json::value& id : *list) add(id);
  } else {
    add(*value);
  }
  std::sort(ids.begin(), ids.end());
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  return ids;
}

ModelConfig config_from_json(const JsonObject& object) { return Reader(object).read(); }

GenerationConfig generation_config_from_json(const JsonObject& object) {
  GenerationConfig g;
  const auto number = [&](std::string_view key) {
    return object.has(key) ? std::optional(object.number(key)) : std::nullopt;
  };
  g.temperature = number("temperature");
  g.top_p = number("top_p");
  g.min_p = number("min_p");
  g.repetition_penalty = number("repetition_penalty");
  if (object.has("top_k")) {
    const int64_t k = object.integer("top_k");
    if (k > INT_MAX) throw Error(cat(object.what(), ": top_k: expected a small number, found ", k));
    if (k > 0) g.top_k = static_cast<int>(k);  // 0 and -1 mean: off
  }
  if (object.has("do_sample")) g.do_sample = object.boolean_or("do_sample", true);
  validate(g, object.what());
  return g;
}

void validate(const GenerationConfig& g, std::string_view what) {
  const auto check_range = [&](const char* key, const std::optional<double>& x, double least, double most) {
    if (x && !(std::isfinite(*x) && *x >= least && *x <= most))
      throw Error(cat(what, ": ", key, ": expected a number from ", least, " to ", most, ", found ", *x));
  };
  check_range("temperature", g.temperature, 0, 100);
  check_range("top_p", g.top_p, 0, 1);
  check_range("min_p", g.min_p, 0, 1);
  check_range("repetition_penalty", g.repetition_penalty, 1e-3, 1e3);
}

}  // namespace fathom
