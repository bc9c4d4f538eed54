#include "quant/needed_tensors.h"

#include "base/error.h"

namespace fathom {
namespace {

class Search {
 public:
  Search(const Checkpoint& checkpoint, size_t most) : source_(checkpoint), c_(checkpoint.config()), most_(most) {}

  std::vector<std::string> run(size_t mtp_layers) {
    need("model.", {"embed_tokens.weight"});
    for (size_t i = 0; i < c_.num_hidden_layers + mtp_layers && !full(); ++i) {
      const std::string layer = cat("model.layers.", i, ".");
      if (i >= c_.num_hidden_layers) need(layer, {"enorm.weight", "hnorm.weight", "eh_proj.weight"});
      need(layer, {"input_layernorm.weight"});
      attention(layer + "self_attn.");
      need(layer, {"post_attention_layernorm.weight"});
      c_.is_moe_layer(i) ? experts(layer + "mlp.") : feed_forward(layer + "mlp.");
    }
    need("model.", {"norm.weight"});
    if (!c_.tie_word_embeddings) need("", {"lm_head.weight"});
    return std::move(missing_);
  }

 private:
  bool full() const { return missing_.size() >= most_; }

  void need(const std::string& prefix, std::initializer_list<const char*> names) {
    for (const char* name : names)
      if (!full() && !source_.has(prefix + name)) missing_.push_back(prefix + name);
  }

  void attention(const std::string& prefix) {
    if (c_.is_mla()) {
      if (c_.q_lora_rank)
        need(prefix, {"q_a_proj.weight", "q_a_layernorm.weight", "q_b_proj.weight"});
      else
        need(prefix, {"q_proj.weight"});
      need(prefix, {"kv_a_proj_with_mqa.weight", "kv_a_layernorm.weight", "kv_b_proj.weight", "o_proj.weight"});
      return;
    }
    need(prefix, {"q_proj.weight", "k_proj.weight", "v_proj.weight", "o_proj.weight"});
    if (c_.attention_bias) need(prefix, {"q_proj.bias", "k_proj.bias", "v_proj.bias"});
    if (c_.model_type.starts_with("qwen3")) need(prefix, {"q_norm.weight", "k_norm.weight"});
  }

  void feed_forward(const std::string& prefix) {
    need(prefix, {"gate_proj.weight", "up_proj.weight", "down_proj.weight"});
  }

  void experts(const std::string& prefix) {
    need(prefix, {"gate.weight"});
    if (c_.topk_method == "noaux_tc") need(prefix, {"gate.e_score_correction_bias"});
    for (size_t e = 0; e < c_.n_routed_experts && !full(); ++e) feed_forward(cat(prefix, "experts.", e, "."));
    if (c_.n_shared_experts) feed_forward(prefix + "shared_experts.");
  }

  const Checkpoint& source_;
  const ModelConfig& c_;
  size_t most_;
  std::vector<std::string> missing_;
};

}  // namespace

std::vector<std::string> missing_tensors(const Checkpoint& checkpoint, size_t mtp_layers, size_t most) {
  return Search(checkpoint, most).run(mtp_layers);
}

}  // namespace fathom
