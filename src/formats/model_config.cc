#include "formats/model_config.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"

namespace fathom {
namespace {

// Sizes that a tensor of the file must have may be large. Numbers of things that models/ makes objects of may not, and
// neither may the sizes of one head: a table of angles is made of them before any tensor is asked for.
constexpr size_t kMaxSize = (size_t{1} << 31) - 1, kMaxThings = 1 << 16, kMaxMtp = 16;

class Validator {
 public:
  Validator(const ModelConfig& config, std::string_view what) : c_(config), what_(what) {}
  void run() const {
    sizes();
    numbers();
    rope();
    if (c_.is_mla()) mla();
    if (c_.n_routed_experts) experts();
    tokens();
  }

 private:
  template <class Found>
  void require(bool ok, const char* key, std::string_view expected, const Found& found) const {
    if (!ok) throw Error(cat(what_, ": ", key, ": expected ", expected, ", found ", found));
  }
  void size(const char* key, size_t n, size_t most = kMaxSize) const {
    require(n >= 1 && n <= most, key, cat("a number from 1 to ", most), n);
  }
  void positive(const char* key, double x) const { require(std::isfinite(x) && x > 0, key, "a positive number", x); }

  void sizes() const {
    size("vocab_size", c_.vocab_size);
    size("hidden_size", c_.hidden_size);
    size("num_hidden_layers", c_.num_hidden_layers, kMaxThings);
    size("num_attention_heads", c_.num_attention_heads, kMaxThings);
    size("num_key_value_heads", c_.num_key_value_heads, kMaxThings);
    size("head_dim", c_.head_dim, std::min(kMaxThings, kMaxSize / c_.num_attention_heads));
    size("max_position_embeddings", c_.max_position_embeddings);
    if (!c_.n_routed_experts || c_.first_k_dense_replace) size("intermediate_size", c_.intermediate_size);
    require(c_.num_attention_heads % c_.num_key_value_heads == 0, "num_key_value_heads",
            cat("a divisor of num_attention_heads, ", c_.num_attention_heads), c_.num_key_value_heads);
    require(c_.num_nextn_predict_layers <= kMaxMtp, "num_nextn_predict_layers", cat("at most ", kMaxMtp),
            c_.num_nextn_predict_layers);
  }

  void numbers() const {
    require(c_.rms_norm_eps > 0 && c_.rms_norm_eps <= 1, "rms_norm_eps", "a positive number up to 1", c_.rms_norm_eps);
    positive("routed_scaling_factor", c_.routed_scaling_factor);
    require(std::isfinite(c_.rope_theta) && c_.rope_theta > 1, "rope_theta", "a number above 1", c_.rope_theta);
  }

  void rope() const {
    const RopeScaling& r = c_.rope_scaling;
    if (!c_.is_mla()) require(c_.head_dim % 2 == 0, "head_dim", "an even number", c_.head_dim);
    if (r.rope_type == RopeType::kDefault) return;
    require(std::isfinite(r.factor) && r.factor >= 1, "rope_scaling factor", "a number from 1 on", r.factor);
    if (r.rope_type == RopeType::kLinear) return;
    positive("original_max_position_embeddings", r.original_max_position_embeddings);
    if (r.rope_type == RopeType::kLlama3) {
      positive("low_freq_factor", r.low_freq_factor);
      require(std::isfinite(r.high_freq_factor) && r.high_freq_factor > r.low_freq_factor, "high_freq_factor",
              cat("more than low_freq_factor, ", r.low_freq_factor), r.high_freq_factor);
      return;
    }
    positive("beta_fast", r.beta_fast);
    positive("beta_slow", r.beta_slow);
    require(std::isfinite(r.mscale), "mscale", "a number", r.mscale);
    require(std::isfinite(r.mscale_all_dim), "mscale_all_dim", "a number", r.mscale_all_dim);
    if (r.attn_factor) positive("attn_factor", *r.attn_factor);
    if (r.attention_factor) positive("attention_factor", *r.attention_factor);
  }

  void mla() const {
    size("kv_lora_rank", c_.kv_lora_rank, kMaxThings);
    size("qk_nope_head_dim", c_.qk_nope_head_dim, kMaxThings);
    size("qk_rope_head_dim", c_.qk_rope_head_dim, kMaxThings);
    size("v_head_dim", c_.v_head_dim, std::min(kMaxThings, kMaxSize / c_.num_attention_heads));
    require(c_.q_lora_rank <= kMaxSize, "q_lora_rank", cat("at most ", kMaxSize), c_.q_lora_rank);
    require(c_.qk_rope_head_dim % 2 == 0, "qk_rope_head_dim", "an even number", c_.qk_rope_head_dim);
  }

  void experts() const {
    size("n_routed_experts", c_.n_routed_experts, kMaxThings);
    size("moe_intermediate_size", c_.moe_intermediate_size);
    require(c_.n_shared_experts <= kMaxThings, "n_shared_experts", cat("at most ", kMaxThings), c_.n_shared_experts);
    require(c_.first_k_dense_replace <= c_.num_hidden_layers, "first_k_dense_replace",
            cat("at most num_hidden_layers, ", c_.num_hidden_layers), c_.first_k_dense_replace);
    size("n_group", c_.n_group, c_.n_routed_experts);
    require(c_.n_routed_experts % c_.n_group == 0, "n_group",
            cat("a divisor of n_routed_experts, ", c_.n_routed_experts), c_.n_group);
    size("topk_group", c_.topk_group, c_.n_group);
    const size_t group = c_.n_routed_experts / c_.n_group;
    size("num_experts_per_tok", c_.num_experts_per_tok, c_.topk_group * group);
    const bool v3 = c_.scoring_func == "sigmoid" && c_.topk_method == "noaux_tc";
    const bool v2 =
        c_.scoring_func == "softmax" && (c_.topk_method == "greedy" || c_.topk_method == "group_limited_greedy");
    require(v2 || v3, "scoring_func and topk_method",
            "sigmoid with noaux_tc, or softmax with greedy or group_limited_greedy",
            cat(c_.scoring_func, " with ", c_.topk_method));
    // A group's score is the sum of its two best.
    require(!v3 || c_.n_group == 1 || group >= 2, "n_group", "groups of at least 2 experts", c_.n_group);
  }

  void tokens() const {
    const auto vocab = static_cast<int64_t>(c_.vocab_size);
    require(c_.bos_token_id >= -1 && c_.bos_token_id < vocab, "bos_token_id", cat("an id below ", vocab),
            c_.bos_token_id);
    for (int id : c_.eos_token_ids) require(id >= 0 && id < vocab, "eos_token_id", cat("an id below ", vocab), id);
  }

  const ModelConfig& c_;
  std::string_view what_;
};

}  // namespace

void validate(const ModelConfig& config, std::string_view what) { Validator(config, what).run(); }

}  // namespace fathom
