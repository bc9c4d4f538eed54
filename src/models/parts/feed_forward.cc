#include "models/parts/feed_forward.h"

#include "ops/elementwise.h"
#include "ops/moe.h"

namespace fathom {
namespace {

class Mlp final : public FeedForward {
 public:
  Mlp(WeightLoader& loader, const std::string& prefix, size_t width)
      : gate_proj_(loader.linear(prefix + "gate_proj.weight", width, loader.config().hidden_size)),
        up_proj_(loader.linear(prefix + "up_proj.weight", width, loader.config().hidden_size)),
        down_proj_(loader.linear(prefix + "down_proj.weight", loader.config().hidden_size, width)) {}

  Tensor forward(Context& ctx, const Tensor& x) const override {
    const auto [gate, up] = linears<2>(ctx, LinearInput(ctx, x), {LinearUse{&gate_proj_}, {&up_proj_}});  // [T, F]
    return linear(ctx, silu_mul(ctx, gate, up), down_proj_);
  }

 private:
  const Weight &gate_proj_, &up_proj_, &down_proj_;
};

RouterConfig router_config(const ModelConfig& c) {
  RouterConfig r;
  r.n_experts = c.n_routed_experts;
  r.top_k = c.num_experts_per_tok;
  const bool grouped = c.topk_method == "noaux_tc" || c.topk_method == "group_limited_greedy";
  r.n_group = grouped ? c.n_group : 1;
  r.topk_group = grouped ? c.topk_group : 1;
  r.sigmoid = c.scoring_func == "sigmoid";
  r.group_by_two_best = c.topk_method == "noaux_tc";
  r.normalize = c.norm_topk_prob;
  r.scale = static_cast<float>(c.routed_scaling_factor);
  r.scale_when_normalized = c.model_type != "deepseek_v2";
  return r;
}

class Moe final : public FeedForward {
 public:
  Moe(WeightLoader& loader, const std::string& prefix)
      : router_(router_config(loader.config())),
        gate_(loader.linear(prefix + "gate.weight", router_.n_experts, loader.config().hidden_size,
                            /*always_exact=*/true)),
        e_score_correction_bias_(loader.optional_vector(prefix + "gate.e_score_correction_bias", router_.n_experts,
                                                        loader.config().topk_method == "noaux_tc")) {
    const ModelConfig& c = loader.config();
    const size_t width = c.moe_intermediate_size;
    const std::string expert = prefix + "experts.";
    experts_ = {loader.stack(expert, ".gate_proj.weight", router_.n_experts, width, c.hidden_size),
                loader.stack(expert, ".up_proj.weight", router_.n_experts, width, c.hidden_size),
                loader.stack(expert, ".down_proj.weight", router_.n_experts, c.hidden_size, width)};
    if (c.n_shared_experts != 0)
      shared_experts_ = std::make_unique<Mlp>(loader, prefix + "shared_experts.", c.n_shared_experts * width);
  }

  Tensor forward(Context& ctx, const Tensor& x) const override {
    const Tensor routed = experts(ctx, x, route(ctx, x, gate_, e_score_correction_bias_, router_), experts_);
    return shared_experts_ ? add(ctx, routed, shared_experts_->forward(ctx, x)) : routed;
  }

 private:
  RouterConfig router_;
  const Weight& gate_;
  Tensor e_score_correction_bias_;  // undefined where the model has none
  Experts experts_;
  std::unique_ptr<Mlp> shared_experts_;  // null where the model has none
};

}  // namespace

std::unique_ptr<FeedForward> load_mlp(WeightLoader& loader, const std::string& prefix, size_t width) {
  return std::make_unique<Mlp>(loader, prefix, width);
}

std::unique_ptr<FeedForward> load_moe(WeightLoader& loader, const std::string& prefix) {
  return std::make_unique<Moe>(loader, prefix);
}

}  // namespace fathom
