#include "ops/moe.h"

#include "ops/elementwise.h"

namespace fathom {
namespace {

/// One linear per expert, over that expert's rows of x: [S, K] -> [S, O].
Tensor expert_linears(Context& ctx, const LinearInput& x, std::span<const Weight> weights,
                      std::span<const uint32_t> offsets) {
  Tensor y = ctx.make(DType::kF32, {x.rows(), weights[0].O()});
  std::vector<LinearTask> tasks;
  for (size_t e = 0; e < weights.size(); ++e) {
    const size_t begin = offsets[e], n = offsets[e + 1] - begin;
    if (n == 0) continue;
    tasks.push_back({y, begin, 0, weights[e].O(), &weights[e], &x.operand_for(weights[e]), begin, n});
    if (ctx.observer) ctx.observer->linear_input(weights[e], x.x().slice(begin, n));
  }
  ctx.backend.linear(tasks);
  return y;
}

}  // namespace

Routing route(Context& ctx, const Tensor& x, const Weight& gate, const Tensor& e_score_correction_bias,
              const RouterConfig& config) {
  check(gate.always_exact, "the router is exact in every profile");
  check(!ctx.tape, "route has no backward yet");
  const Tensor logits = linear(ctx, x, gate);
  const Routing out{ctx.make(DType::kI32, {x.rows(), config.top_k}), ctx.make(DType::kF32, {x.rows(), config.top_k})};
  ctx.backend.route(out, logits, e_score_correction_bias, config);
  return out;
}

Tensor experts(Context& ctx, const Tensor& x, const Routing& routing, const Experts& weights) {
  const size_t T = x.rows(), k = routing.ids.dim(1), E = weights.gate_proj.size();
  const Tensor token_of_row = ctx.make(DType::kI32, {T * k}), row_of_slot = ctx.make(DType::kI32, {T, k});
  std::vector<uint32_t> offsets(E + 1);
  ctx.backend.group_by_expert(routing.ids, token_of_row, row_of_slot, offsets);
  const Tensor gathered = ctx.make(DType::kF32, {T * k, x.shape().back()});
  ctx.backend.gather_rows(gathered, x, token_of_row);
  const LinearInput in(ctx, gathered);
  const Tensor gate = expert_linears(ctx, in, weights.gate_proj, offsets);
  const Tensor up = expert_linears(ctx, in, weights.up_proj, offsets);
  const Tensor f = expert_linears(ctx, LinearInput(ctx, silu_mul(ctx, gate, up)), weights.down_proj, offsets);
  Tensor y = ctx.make(DType::kF32, {T, weights.down_proj[0].O()});
  ctx.backend.combine_experts(y, f, row_of_slot, routing.gates);
  return y;
}

}  // namespace fathom
