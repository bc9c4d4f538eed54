#include "ops/moe.h"

#include "ops/elementwise.h"

namespace fathom {
namespace {

/// One linear per expert and matrix of it, over that expert's rows of x, in one pass over the pool: each [S, K] -> [S,
/// O].
template <size_t N>
std::array<Tensor, N> expert_linears(Context& ctx, const LinearInput& x,
                                     const std::array<std::span<const Weight>, N>& matrices,
                                     std::span<const uint32_t> offsets) {
  thread_local std::vector<LinearTask> tasks;  // kept, since a token is not to allocate
  tasks.clear();                               // an observer may have thrown
  std::array<Tensor, N> ys;
  for (size_t m = 0; m < N; ++m) ys[m] = ctx.make(DType::kF32, {x.rows(), matrices[m][0].O()});
  for (size_t e = 0; e + 1 < offsets.size(); ++e) {
    const size_t begin = offsets[e], n = offsets[e + 1] - begin;
    for (size_t m = 0; n != 0 && m < N; ++m) {
      const Weight& w = matrices[m][e];
      tasks.push_back({ys[m], begin, 0, w.O(), &w, &x.operand_for(w), begin, n});
      if (ctx.observer) ctx.observer->linear_input(w, x.x().slice(begin, n));
    }
  }
  ctx.backend.linear(tasks);
  tasks.clear();
  return ys;
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
  const Tensor offset_values = ctx.make(DType::kI32, {E + 1});
  const std::span<uint32_t> offsets(reinterpret_cast<uint32_t*>(offset_values.bytes()), E + 1);
  ctx.backend.group_by_expert(routing.ids, token_of_row, row_of_slot, offsets);
  const Tensor gathered = ctx.make(DType::kF32, {T * k, x.shape().back()});
  ctx.backend.gather_rows(gathered, x, token_of_row);
  const LinearInput in(ctx, gathered);
  const auto [gate, up] = expert_linears<2>(ctx, in, {weights.gate_proj, weights.up_proj}, offsets);
  const LinearInput hidden(ctx, silu_mul(ctx, gate, up));
  const auto [f] = expert_linears<1>(ctx, hidden, {weights.down_proj}, offsets);
  Tensor y = ctx.make(DType::kF32, {T, weights.down_proj[0].O()});
  ctx.backend.combine_experts(y, f, row_of_slot, routing.gates);
  return y;
}

}  // namespace fathom
