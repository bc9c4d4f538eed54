#include "models/parts/gqa.h"

#include <cmath>

#include "ops/elementwise.h"

namespace fathom {
namespace {

bool has_head_norms(const ModelConfig& config) { return config.model_type.starts_with("qwen3"); }

class Gqa final : public Attention {
 public:
  Gqa(WeightLoader& loader, const std::string& prefix)
      : heads_(loader.config().num_attention_heads),
        kv_heads_(loader.config().num_key_value_heads),
        head_dim_(loader.config().head_dim),
        eps_(static_cast<float>(loader.config().rms_norm_eps)),
        scale_(static_cast<float>(1 / std::sqrt(static_cast<double>(head_dim_)))),
        q_proj_(loader.linear(prefix + "q_proj.weight", heads_ * head_dim_, loader.config().hidden_size)),
        k_proj_(loader.linear(prefix + "k_proj.weight", kv_heads_ * head_dim_, loader.config().hidden_size)),
        v_proj_(loader.linear(prefix + "v_proj.weight", kv_heads_ * head_dim_, loader.config().hidden_size)),
        o_proj_(loader.linear(prefix + "o_proj.weight", loader.config().hidden_size, heads_ * head_dim_)),
        q_bias_(loader.optional_vector(prefix + "q_proj.bias", heads_ * head_dim_, loader.config().attention_bias)),
        k_bias_(loader.optional_vector(prefix + "k_proj.bias", kv_heads_ * head_dim_, loader.config().attention_bias)),
        v_bias_(loader.optional_vector(prefix + "v_proj.bias", kv_heads_ * head_dim_, loader.config().attention_bias)),
        o_bias_(loader.optional_vector(prefix + "o_proj.bias", loader.config().hidden_size)),
        q_norm_(loader.optional_vector(prefix + "q_norm.weight", head_dim_, has_head_norms(loader.config()))),
        k_norm_(loader.optional_vector(prefix + "k_norm.weight", head_dim_, has_head_norms(loader.config()))) {}

  Tensor forward(Context& ctx, const Tensor& x, const ForwardState& state, const LayerCache& cache) const override {
    auto [q, k, v] = linears<3>(
        ctx, LinearInput(ctx, x),  // q [T, H d]; k, v [T, K d]
        {LinearUse{&q_proj_, optional(q_bias_)}, {&k_proj_, optional(k_bias_)}, {&v_proj_, optional(v_bias_)}});
    if (q_norm_.defined()) q = rms_norm(ctx, q, q_norm_, eps_);  // over each head
    if (k_norm_.defined()) k = rms_norm(ctx, k, k_norm_, eps_);
    q = rope(ctx, q, heads_, state.angles);
    k = rope(ctx, k, kv_heads_, state.angles);
    const Tensor out = attention(ctx, q, k, v, state.rows, cache, heads_, kv_heads_, scale_);
    return linear(ctx, out, o_proj_, optional(o_bias_));
  }

 private:
  static const Tensor* optional(const Tensor& t) { return t.defined() ? &t : nullptr; }

  size_t heads_, kv_heads_, head_dim_;
  float eps_, scale_;
  const Weight &q_proj_, &k_proj_, &v_proj_, &o_proj_;
  Tensor q_bias_, k_bias_, v_bias_, o_bias_, q_norm_, k_norm_;  // undefined where the model has none
};

}  // namespace

std::unique_ptr<Attention> load_gqa(WeightLoader& loader, const std::string& prefix) {
  return std::make_unique<Gqa>(loader, prefix);
}

}  // namespace fathom
