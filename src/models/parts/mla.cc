#include "models/parts/mla.h"

#include "models/parts/rope_table.h"
#include "ops/elementwise.h"

namespace fathom {
namespace {

class Mla final : public Attention {
 public:
  Mla(WeightLoader& loader, const std::string& prefix)
      : heads_(loader.config().num_attention_heads),
        nope_(loader.config().qk_nope_head_dim),
        rope_(loader.config().qk_rope_head_dim),
        v_(loader.config().v_head_dim),
        latent_(loader.config().kv_lora_rank),
        eps_(static_cast<float>(loader.config().rms_norm_eps)),
        scale_(mla_softmax_scale(loader.config())) {
    const size_t hidden = loader.config().hidden_size, q_lora = loader.config().q_lora_rank,
                 q_width = heads_ * (nope_ + rope_);
    if (q_lora != 0) {
      q_a_proj_ = &loader.linear(prefix + "q_a_proj.weight", q_lora, hidden);
      q_a_layernorm_ = loader.vector(prefix + "q_a_layernorm.weight", q_lora);
      q_b_proj_ = &loader.linear(prefix + "q_b_proj.weight", q_width, q_lora);
    } else {
      q_proj_ = &loader.linear(prefix + "q_proj.weight", q_width, hidden);
    }
    kv_a_proj_with_mqa_ = &loader.linear(prefix + "kv_a_proj_with_mqa.weight", latent_ + rope_, hidden);
    kv_a_layernorm_ = loader.vector(prefix + "kv_a_layernorm.weight", latent_);
    kv_b_ = loader.absorbed_kv(prefix);
    o_proj_ = &loader.linear(prefix + "o_proj.weight", hidden, heads_ * v_);
  }

  Tensor forward(Context& ctx, const Tensor& x, const ForwardState& state, const LayerCache& cache) const override {
    const LinearInput in(ctx, x);
    auto [q_or_q_a, kv_a] = linears<2>(ctx, in, {LinearUse{q_a_proj_ ? q_a_proj_ : q_proj_}, {kv_a_proj_with_mqa_}});
    const Tensor q =
        rope(ctx, q_a_proj_ ? linear(ctx, rms_norm(ctx, q_or_q_a, q_a_layernorm_, eps_), *q_b_proj_) : q_or_q_a, heads_,
             state.angles, nope_);  // [T, H (nope + rope)]
    const Tensor out_latent = attention_mla(ctx, absorbed_query(ctx, q), latent_row(ctx, kv_a, state), state.rows,
                                            cache, heads_, latent_, scale_);  // [T, H latent]
    const Tensor out = ctx.make(x.dtype(), {x.rows(), heads_ * v_});          // [T, H v]
    head_linears(ctx, out, out_latent, 0, kv_b_.v_b);
    return linear(ctx, out, *o_proj_);
  }

 private:
  /// [T, H (latent + rope)]: per head [q_nope W_K; q_pe].
  Tensor absorbed_query(Context& ctx, const Tensor& q) const {
    const Tensor out = ctx.make(q.dtype(), {q.rows(), heads_ * (latent_ + rope_)});
    head_linears(ctx, out, q, 0, kv_b_.k_b);
    copy_columns(ctx, out, q,
                 {.y_column = latent_,
                  .y_step = latent_ + rope_,
                  .x_column = nope_,
                  .x_step = nope_ + rope_,
                  .groups = heads_,
                  .n = rope_});
    return out;
  }

  /// [T, latent + rope]: [RMSNorm(c); rotated k_pe], what the cache stores.
  Tensor latent_row(Context& ctx, const Tensor& kv_a, const ForwardState& state) const {
    const Tensor c = ctx.make(kv_a.dtype(), {kv_a.rows(), latent_});
    const Tensor k_pe = ctx.make(kv_a.dtype(), {kv_a.rows(), rope_});
    copy_columns(ctx, c, kv_a, {.n = latent_});
    copy_columns(ctx, k_pe, kv_a, {.x_column = latent_, .n = rope_});
    const Tensor row = ctx.make(kv_a.dtype(), {kv_a.rows(), latent_ + rope_});
    copy_columns(ctx, row, rms_norm(ctx, c, kv_a_layernorm_, eps_), {.n = latent_});
    copy_columns(ctx, row, rope(ctx, k_pe, 1, state.angles), {.y_column = latent_, .n = rope_});
    return row;
  }

  size_t heads_, nope_, rope_, v_, latent_;
  float eps_, scale_;
  const Weight* q_proj_ = nullptr;  // null with a low-rank query, and then the next two are set
  const Weight *q_a_proj_ = nullptr, *q_b_proj_ = nullptr;
  const Weight *kv_a_proj_with_mqa_ = nullptr, *o_proj_ = nullptr;
  Tensor q_a_layernorm_, kv_a_layernorm_;
  WeightLoader::AbsorbedKv kv_b_;
};

}  // namespace

std::unique_ptr<Attention> load_mla(WeightLoader& loader, const std::string& prefix) {
  return std::make_unique<Mla>(loader, prefix);
}

}  // namespace fathom
