#include "ops/moe.h"

#include <algorithm>

#include "ops/elementwise.h"

namespace fathom {
namespace {

/// Rows [offsets[e], offsets[e + 1]) are those of tokens, ascending, that chose expert e.
struct ExpertRows {
  std::span<const uint32_t> offsets;
  std::span<const int32_t> tokens;
};

/// LinearBackward::sequence_ends of each expert.
std::vector<std::vector<uint32_t>> ends_of_experts(const ExpertRows& rows, std::span<const uint32_t> sequence_ends) {
  std::vector<std::vector<uint32_t>> out(rows.offsets.size() - 1);
  for (size_t e = 0; e < out.size(); ++e) {
    const auto tokens = rows.tokens.subspan(rows.offsets[e], rows.offsets[e + 1] - rows.offsets[e]);
    for (const uint32_t end : sequence_ends) {
      const auto n =
          static_cast<uint32_t>(std::ranges::lower_bound(tokens, static_cast<int32_t>(end)) - tokens.begin());
      if (n > (out[e].empty() ? 0 : out[e].back())) out[e].push_back(n);
    }
  }
  return out;
}

void record_experts(Context& ctx, const Tensor& y, const Tensor& x, std::span<const Weight> w, const ExpertRows& rows,
                    size_t tokens) {
  const std::vector<uint32_t> begin(rows.offsets.begin(), rows.offsets.end());
  ctx.tape->record(y, [x, w, begin, ends = ends_of_experts(rows, sequence_ends(ctx, w[0], tokens)),
                       trained = is_trained(ctx, w[0]), &backend = ctx.backend](const Tensor& dy, Gradients& grads) {
    std::vector<LinearBackward> tasks;
    for (size_t e = 0; e < w.size(); ++e) {
      if (begin[e] == begin[e + 1]) continue;
      LinearBackward task = backward_of(w[e], trained, begin[e + 1] - begin[e], dy, x, grads, ends[e]);
      task.dy_offset = begin[e] * w[e].O();
      task.x_offset = task.dx_offset = begin[e] * w[e].K();
      tasks.push_back(task);
    }
    backend.linear_backward(tasks);
  });
}

/// One linear per expert and matrix of it, over that expert's rows of x, in one pass over the pool: each [S, K] -> [S,
/// O].
template <size_t N>
std::array<Tensor, N> expert_linears(Context& ctx, const LinearInput& x,
                                     const std::array<std::span<const Weight>, N>& matrices, const ExpertRows& rows,
                                     size_t n_tokens) {
  thread_local std::vector<LinearTask> tasks;  // kept, since a token is not to allocate
  tasks.clear();                               // an observer may have thrown
  std::array<Tensor, N> ys;
  for (size_t m = 0; m < N; ++m) ys[m] = ctx.make(x.x().dtype(), {x.rows(), matrices[m][0].O()});
  for (size_t e = 0; e + 1 < rows.offsets.size(); ++e) {
    const size_t begin = rows.offsets[e], n = rows.offsets[e + 1] - begin;
    for (size_t m = 0; n != 0 && m < N; ++m) {
      const Weight& w = matrices[m][e];
      tasks.push_back({ys[m], begin, 0, w.O(), &w, &x.operand_for(w), begin, n});
      if (ctx.observer) ctx.observer->linear_input(w, x.x().slice(begin, n));
    }
  }
  ctx.backend.linear(tasks);
  tasks.clear();
  for (size_t m = 0; ctx.tape && m < N; ++m) record_experts(ctx, ys[m], x.x(), matrices[m], rows, n_tokens);
  return ys;
}

/// What ctx.training wants instead of the router's choice; null: nothing.
const ExpertChoice* kept_choice(const Context& ctx, const std::string& gate) {
  if (!ctx.training || !ctx.training->kept_choices) return nullptr;
  for (const ExpertChoice& choice : *ctx.training->kept_choices)
    if (choice.gate == gate) return &choice;
  throw Error(cat(gate, ": expected the experts that were kept of every router, found none of this one"));
}

void choose(Context& ctx, const Routing& out, const Tensor& logits, const std::string& gate, const Tensor& bias,
            const RouterConfig& config) {
  const ExpertChoice* kept = kept_choice(ctx, gate);
  if (!kept) return ctx.backend.route(out, logits, bias, config);
  check(kept->ids.size() == out.ids.count(), "experts were kept of every row");
  std::ranges::copy(kept->ids, out.ids.span<int32_t>().begin());
  ctx.backend.gate_chosen(out, logits, config);
}

/// Loads and balance loss of a router's forward.
void train_router(Context& ctx, const Tensor& logits, const Routing& routing, const std::string& gate,
                  const RouterConfig& config) {
  TrainingPass& pass = *ctx.training;
  const std::vector<SequenceRows> rows(pass.rows.begin(), pass.rows.end());
  if (!pass.recomputing) {
    ExpertLoad* load = nullptr;
    for (ExpertLoad& known : pass.loads)
      if (known.gate == gate) load = &known;
    if (!load) load = &pass.loads.emplace_back(ExpertLoad{gate, std::vector<int64_t>(config.n_experts)});
    const std::span<const int32_t> ids = routing.ids.span<int32_t>();
    for (const int32_t id : ids) ++load->counts[static_cast<size_t>(id)];
    if (pass.note_choices) pass.choices.push_back({gate, {ids.begin(), ids.end()}});
    if (pass.balance_weight != 0)
      pass.balance_loss += pass.balance_weight * ctx.backend.balance_loss({}, logits, rows, config, 0);
  }
  if (!ctx.tape || pass.balance_weight == 0) return;
  // Recorded on the gates, whose gradient every loss of the model's output reaches.
  ctx.tape->record(routing.gates, [logits, rows, config, weight = pass.balance_weight, &backend = ctx.backend](
                                      const Tensor& /*dy*/, Gradients& grads) {
    backend.balance_loss(grads.of(logits), logits, rows, config, weight);
  });
}

}  // namespace

Routing route(Context& ctx, const Tensor& x, const Weight& gate, const Tensor& e_score_correction_bias,
              const RouterConfig& config) {
  check(gate.always_exact, "the router is exact in every profile");
  const Tensor logits = linear(ctx, x, gate);
  const Routing out{ctx.make(DType::kI32, {x.rows(), config.top_k}), ctx.make(x.dtype(), {x.rows(), config.top_k})};
  choose(ctx, out, logits, gate.name(), e_score_correction_bias, config);
  if (ctx.tape)
    ctx.tape->record(out.gates, [out, logits, config, &backend = ctx.backend](const Tensor& dy, Gradients& grads) {
      backend.route_backward(grads.of(logits), dy, logits, out.ids, config);
    });
  if (ctx.training) train_router(ctx, logits, out, gate.name(), config);
  return out;
}

Tensor experts(Context& ctx, const Tensor& x, const Routing& routing, const Experts& weights) {
  const size_t T = x.rows(), k = routing.ids.dim(1), E = weights.gate_proj.size();
  const Tensor token_of_row = ctx.make(DType::kI32, {T * k}), row_of_slot = ctx.make(DType::kI32, {T, k});
  const Tensor offset_values = ctx.make(DType::kI32, {E + 1});
  const std::span<uint32_t> offsets(reinterpret_cast<uint32_t*>(offset_values.bytes()), E + 1);
  ctx.backend.group_by_expert(routing.ids, token_of_row, row_of_slot, offsets);
  const Tensor gathered = ctx.make(x.dtype(), {T * k, x.shape().back()});
  ctx.backend.gather_rows(gathered, x, token_of_row);
  if (ctx.tape)
    ctx.tape->record(gathered, [x, row_of_slot, &backend = ctx.backend](const Tensor& dy, Gradients& grads) {
      backend.gather_rows_backward(grads.of(x), dy, row_of_slot);
    });
  const ExpertRows rows{offsets, token_of_row.span<int32_t>()};
  const LinearInput in(ctx, gathered);
  const auto [gate, up] = expert_linears<2>(ctx, in, {weights.gate_proj, weights.up_proj}, rows, T);
  const LinearInput hidden(ctx, silu_mul(ctx, gate, up));
  const auto [f] = expert_linears<1>(ctx, hidden, {weights.down_proj}, rows, T);
  Tensor y = ctx.make(x.dtype(), {T, weights.down_proj[0].O()});
  ctx.backend.combine_experts(y, f, row_of_slot, routing.gates);
  if (ctx.tape)
    ctx.tape->record(
        y, [f = f, row_of_slot, gates = routing.gates, &backend = ctx.backend](const Tensor& dy, Gradients& grads) {
          backend.combine_experts_backward(grads.of(f), grads.of(gates), dy, f, row_of_slot, gates);
        });
  return y;
}

}  // namespace fathom
