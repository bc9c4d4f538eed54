#include "formats/config_gguf.h"

#include <array>
#include <climits>

#include "formats/config_json.h"

namespace fathom {
namespace {

struct Architecture {
  const char* gguf;
  const char* model_type;
};
constexpr std::array<Architecture, 5> kArchitectures = {{
    {"llama", "llama"},
    {"qwen2", "qwen2"},
    {"qwen3", "qwen3"},
    {"qwen3moe", "qwen3_moe"},
    {"deepseek2", ""},  // deepseek_v2 or deepseek_v3, by its gating
}};

class Reader {
 public:
  Reader(const GgufMetadata& metadata, const ShapeOf& shape_of, std::vector<std::string>* notes)
      : m_(metadata), shape_of_(shape_of), notes_(notes) {}

  ModelConfig read() {
    read_architecture();
    read_sizes();
    read_rope();
    if (architecture_ == "deepseek2") {
      read_mla();
      read_experts();
      read_gating();
      read_mtp();
    } else if (architecture_ == "qwen3moe") {
      read_experts();
      c_.norm_topk_prob = flag("expert_weights_norm", true);  // converters leave it out: llama.cpp always divides
    } else if (count("expert_count", 0) != 0) {
      throw Error(cat(m_.what(), ": architecture ", architecture_, " with experts is not built"));
    }
    validate(c_, m_.what());
    return c_;
  }

 private:
  std::string key(std::string_view name) const { return cat(architecture_, ".", name); }
  size_t count(std::string_view name, size_t fallback) const { return m_.integer(key(name)).value_or(fallback); }
  size_t count(std::string_view name) const {
    const std::optional<uint64_t> n = m_.integer(key(name));
    if (!n) throw Error(cat(m_.what(), ": key ", key(name), " is missing"));
    return *n;
  }
  double number(std::string_view name, double fallback) const { return m_.number(key(name)).value_or(fallback); }
  bool flag(std::string_view name, bool fallback) const { return m_.boolean(key(name)).value_or(fallback); }
  void note(std::string text) const {
    if (notes_) notes_->push_back(std::move(text));
  }

  void read_architecture() {
    architecture_ = m_.string("general.architecture").value_or("");
    if (architecture_.empty()) throw Error(cat(m_.what(), ": key general.architecture is missing"));
    std::string known;
    for (const Architecture& a : kArchitectures) {
      if (architecture_ == a.gguf) {
        c_.model_type = a.model_type;
        return;
      }
      known += cat(known.empty() ? "" : ", ", a.gguf);
    }
    throw Error(cat(m_.what(), ": architecture ", printable(architecture_), " is not known (", known, " are)"));
  }

  size_t vocab_size() const {
    if (const std::optional<uint64_t> n = m_.integer(key("vocab_size"))) return *n;
    if (const Shape* shape = shape_of_("token_embd.weight")) return (*shape)[0];
    return m_.strings("tokenizer.ggml.tokens").size();
  }

  void read_sizes() {
    c_.vocab_size = vocab_size();
    c_.hidden_size = count("embedding_length");
    c_.num_hidden_layers = count("block_count");
    c_.intermediate_size = count("feed_forward_length", 0);
    c_.num_attention_heads = count("attention.head_count");
    c_.num_key_value_heads = count("attention.head_count_kv", c_.num_attention_heads);
    const size_t heads = c_.num_attention_heads;
    c_.head_dim = count("attention.key_length", heads && c_.hidden_size % heads == 0 ? c_.hidden_size / heads : 0);
    if (architecture_ != "deepseek2") {
      same("attention.value_length", count("attention.value_length", c_.head_dim));
      same("rope.dimension_count", count("rope.dimension_count", c_.head_dim));
    }
    c_.max_position_embeddings = count("context_length");
    c_.rms_norm_eps = number("attention.layer_norm_rms_epsilon", 1e-6);
    c_.tie_word_embeddings = shape_of_("output.weight") == nullptr;
    c_.attention_bias = shape_of_("blk.0.attn_q.bias") != nullptr;
    c_.rope_interleaved = architecture_ == "llama" || architecture_ == "deepseek2";
  }

  void same(std::string_view name, size_t found) const {
    if (found != c_.head_dim)
      throw Error(
          cat(m_.what(), ": key ", key(name), ": expected the head's length, ", c_.head_dim, ", found ", found));
  }

  void read_rope() {
    c_.rope_theta = number("rope.freq_base", 10000);
    RopeScaling& s = c_.rope_scaling;
    s.factor = number("rope.scaling.factor", number("rope.scale_linear", 1));
    if (s.factor == 0) s.factor = 1;
    const std::string type = m_.string(key("rope.scaling.type")).value_or("linear");
    if (type == "none" || (type == "linear" && s.factor == 1)) {
      s.factor = 1;
      return;
    }
    if (type == "linear") {
      s.rope_type = RopeType::kLinear;
      return;
    }
    if (type != "yarn")
      throw Error(cat(m_.what(), ": key ", key("rope.scaling.type"), ": expected none, linear or yarn, found ",
                      printable(type)));
    s.rope_type = RopeType::kYarn;
    s.original_max_position_embeddings =
        number("rope.scaling.original_context_length", static_cast<double>(c_.max_position_embeddings));
    s.beta_fast = number("rope.scaling.yarn_beta_fast", 32);
    s.beta_slow = number("rope.scaling.yarn_beta_slow", 1);
    if (number("rope.scaling.yarn_ext_factor", 1) != 1)
      throw Error(cat(m_.what(), ": key ", key("rope.scaling.yarn_ext_factor"), ": expected 1, found ",
                      number("rope.scaling.yarn_ext_factor", 1)));
    const double attn = number("rope.scaling.attn_factor", number("rope.scaling.yarn_attn_factor", 1));
    if (attn != 1) s.attn_factor = attn;
  }

  void read_mla() {
    const bool mla_form = m_.has(key("attention.key_length_mla"));
    c_.kv_lora_rank = count("attention.kv_lora_rank");
    if (c_.kv_lora_rank == 0)
      throw Error(cat(m_.what(), ": key ", key("attention.kv_lora_rank"), ": expected a positive number, found 0"));
    c_.q_lora_rank = count("attention.q_lora_rank", 0);
    c_.head_dim = mla_form ? count("attention.key_length_mla") : count("attention.key_length");
    c_.v_head_dim = mla_form ? count("attention.value_length_mla") : count("attention.value_length");
    c_.qk_rope_head_dim = count("rope.dimension_count");
    if (c_.qk_rope_head_dim >= c_.head_dim)
      throw Error(cat(m_.what(), ": key ", key("rope.dimension_count"), ": expected less than the head's length, ",
                      c_.head_dim, ", found ", c_.qk_rope_head_dim));
    c_.qk_nope_head_dim = c_.head_dim - c_.qk_rope_head_dim;
    c_.num_key_value_heads = c_.num_attention_heads;  // the MLA form stores 1: its latent is shared
    RopeScaling& s = c_.rope_scaling;
    if (s.rope_type != RopeType::kYarn) return;
    // The file has 0.1 mscale_all_dim, and every published DeepSeek has mscale equal to it: cos and sin are not scaled.
    const double multiplier = number("rope.scaling.yarn_log_multiplier", 0);
    s.mscale = s.mscale_all_dim = multiplier * 10;
    if (multiplier == 0) s.attention_factor = 1;
  }

  void read_experts() {
    c_.n_routed_experts = count("expert_count");
    if (c_.n_routed_experts == 0)
      throw Error(cat(m_.what(), ": key ", key("expert_count"), ": expected a positive number, found 0"));
    c_.num_experts_per_tok = count("expert_used_count");
    c_.moe_intermediate_size = count("expert_feed_forward_length");
    c_.n_shared_experts = count("expert_shared_count", 0);
    c_.first_k_dense_replace = count("leading_dense_block_count", 0);
    c_.routed_scaling_factor = number("expert_weights_scale", 1);
    if (c_.routed_scaling_factor == 0) c_.routed_scaling_factor = 1;
  }

  void read_gating() {
    const size_t gating = count("expert_gating_func", 1);
    if (gating != 1 && gating != 2)
      throw Error(
          cat(m_.what(), ": key ", key("expert_gating_func"), ": expected 1 (softmax) or 2 (sigmoid), found ", gating));
    const bool sigmoid = gating == 2;
    c_.model_type = sigmoid ? "deepseek_v3" : "deepseek_v2";
    c_.scoring_func = sigmoid ? "sigmoid" : "softmax";
    c_.norm_topk_prob = flag("expert_weights_norm", false);
    c_.n_group = count("expert_group_count", 1);
    c_.topk_group = count("expert_group_used_count", 1);
    if (!m_.has(key("expert_group_count"))) {
      if (sigmoid && c_.n_routed_experts == 256) assume_groups(8, 4);
      if (!sigmoid && c_.n_routed_experts == 160) assume_groups(8, 3);
    }
    c_.topk_method = sigmoid ? "noaux_tc" : c_.n_group > 1 ? "group_limited_greedy" : "greedy";
  }

  void assume_groups(size_t n_group, size_t topk_group) {
    c_.n_group = n_group;
    c_.topk_group = topk_group;
    note(cat("the file does not say how experts are grouped: ", topk_group, " of ", n_group,
             " groups assumed, as in the published model of this size"));
  }

  void read_mtp() {
    const size_t mtp = count("nextn_predict_layers", 0);
    if (mtp >= c_.num_hidden_layers && mtp != 0)
      throw Error(cat(m_.what(), ": key ", key("nextn_predict_layers"), ": expected fewer than block_count, ",
                      c_.num_hidden_layers, ", found ", mtp));
    c_.num_hidden_layers -= mtp;
    // A file of the trunk alone may still carry the key.
    const bool present = shape_of_(cat("blk.", c_.num_hidden_layers, ".nextn.eh_proj.weight")) != nullptr;
    c_.num_nextn_predict_layers = present ? mtp : 0;
  }

  const GgufMetadata& m_;
  const ShapeOf& shape_of_;
  std::vector<std::string>* notes_;
  std::string architecture_;
  ModelConfig c_;
};

}  // namespace

ModelConfig config_from_gguf(const GgufFile& file, std::vector<std::string>* notes) {
  const auto shape_of = [&](std::string_view name) { return file.shape(name); };
  return Reader(file.metadata(), shape_of, notes).read();
}

ModelConfig config_from_gguf(const GgufMetadata& metadata, const ShapeOf& shape_of, std::vector<std::string>* notes) {
  return Reader(metadata, shape_of, notes).read();
}

GenerationConfig generation_config_from_gguf(const GgufMetadata& metadata) {
  GenerationConfig g;
  g.temperature = metadata.number("general.sampling.temp");
  g.top_p = metadata.number("general.sampling.top_p");
  g.min_p = metadata.number("general.sampling.min_p");
  g.repetition_penalty = metadata.number("general.sampling.penalty_repeat");
  const std::optional<double> k = metadata.number("general.sampling.top_k");
  if (k && *k > 0 && *k <= INT_MAX) g.top_k = static_cast<int>(*k);
  validate(g, metadata.what());
  return g;
}

}  // namespace fathom
