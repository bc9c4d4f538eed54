#include "formats/model_header_count.h"

#include "base/checked.h"
#include "formats/tensor_role.h"

namespace fathom {
namespace {

constexpr uint64_t kUnbounded = ~uint64_t{0};

void add(uint64_t& sum, uint64_t n) { sum = checked_add(sum, n).value_or(kUnbounded); }

void set_active(ParameterCount& count, const ExpertUse& use) {
  count.active = count.total;
  if (use.experts == 0 || use.used >= use.experts) return;
  // By whole experts first, so that no product overflows.
  const uint64_t each = count.routed / use.experts, rest = count.routed % use.experts;
  const uint64_t used =
      each * use.used + static_cast<uint64_t>(static_cast<double>(rest) / static_cast<double>(use.experts) *
                                              static_cast<double>(use.used));
  count.active = count.total - count.routed + used;
}

// ---- from a configuration; sizes are bounded by validate(), and their products by 2^64 through Sum

/// A sum of products, saturating.
class Sum {
 public:
  Sum& plus(std::initializer_list<uint64_t> factors) {
    uint64_t product = 1;
    for (const uint64_t f : factors) product = checked_mul(product, f).value_or(kUnbounded);
    add(value_, product);
    return *this;
  }
  uint64_t value() const { return value_; }

 private:
  uint64_t value_ = 0;
};

/// Multi-head latent attention (spec/models.md 4).
uint64_t mla(const ModelConfig& c) {
  const uint64_t D = c.hidden_size, H = c.num_attention_heads, query = c.qk_nope_head_dim + c.qk_rope_head_dim;
  Sum sum;
  if (c.q_lora_rank)
    sum.plus({D, c.q_lora_rank}).plus({c.q_lora_rank}).plus({c.q_lora_rank, H, query});
  else
    sum.plus({D, H, query});
  sum.plus({D, c.kv_lora_rank + c.qk_rope_head_dim}).plus({c.kv_lora_rank});
  sum.plus({c.kv_lora_rank, H, c.qk_nope_head_dim + c.v_head_dim}).plus({H, c.v_head_dim, D});
  return sum.value();
}

/// Grouped-query attention with the biases and norms that the families have (spec/models.md 1.1).
uint64_t gqa(const ModelConfig& c) {
  const uint64_t D = c.hidden_size, q = c.num_attention_heads * c.head_dim, kv = c.num_key_value_heads * c.head_dim;
  Sum sum;
  sum.plus({D, q}).plus({2, D, kv}).plus({q, D});
  if (c.attention_bias) sum.plus({q}).plus({2, kv});
  if (c.attention_bias && c.model_type != "qwen2") sum.plus({D});
  if (c.model_type.starts_with("qwen3")) sum.plus({2, c.head_dim});
  return sum.value();
}

/// The experts of one layer that are routed to.
uint64_t routed_layer(const ModelConfig& c) {
  return Sum().plus({3, c.n_routed_experts, c.hidden_size, c.moe_intermediate_size}).value();
}

/// One decoder layer; `moe`: with a mixture.
uint64_t layer(const ModelConfig& c, bool moe) {
  const uint64_t D = c.hidden_size;
  Sum sum;
  sum.plus({2, D}).plus({c.is_mla() ? mla(c) : gqa(c)});
  if (!moe) return sum.plus({3, D, c.intermediate_size}).value();
  sum.plus({routed_layer(c)}).plus({3, c.n_shared_experts, D, c.moe_intermediate_size}).plus({c.n_routed_experts, D});
  if (c.topk_method == "noaux_tc") sum.plus({c.n_routed_experts});  // e_score_correction_bias
  return sum.value();
}

}  // namespace

ParameterCount count_parameters(std::span<const HeaderTensor> tensors, const ExpertUse& use) {
  ParameterCount count;
  for (const HeaderTensor& t : tensors) {
    const std::string_view name = t.info.name;
    const uint64_t n = t.values();
    if (is_scale(name)) {
      add(count.scales, n);
    } else if (is_derived(name)) {
      add(count.other, n);
    } else if (is_mtp(name, use.layers)) {
      add(count.mtp, n);
    } else {
      add(count.total, n);
      if (is_routed(name)) add(count.routed, n);
      if (is_embedding(name)) add(count.embedding, n);
    }
  }
  set_active(count, use);
  return count;
}

ParameterCount count_parameters(const ModelConfig& c) {
  const uint64_t D = c.hidden_size, V = c.vocab_size, L = c.num_hidden_layers;
  const bool mixture = c.n_routed_experts != 0;
  const uint64_t dense = mixture ? std::min<uint64_t>(c.first_k_dense_replace, L) : L;
  ParameterCount count;
  count.embedding = Sum().plus({V, D}).value();
  count.routed = mixture ? Sum().plus({L - dense, routed_layer(c)}).value() : 0;
  count.total = Sum()
                    .plus({c.tie_word_embeddings ? uint64_t{1} : 2, V, D})
                    .plus({D})
                    .plus({dense, layer(c, false)})
                    .plus({L - dense, mixture ? layer(c, true) : 0})
                    .value();
  // eh_proj, enorm, hnorm and shared_head.norm, a layer, an embedding and a head (spec/models.md 6).
  const uint64_t module = Sum().plus({2, D, D}).plus({3, D}).plus({layer(c, mixture)}).plus({2, V, D}).value();
  count.mtp = Sum().plus({c.num_nextn_predict_layers, module}).value();
  set_active(count, {L, c.n_routed_experts, c.num_experts_per_tok});
  return count;
}

}  // namespace fathom
