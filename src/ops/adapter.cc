#include "ops/adapter.h"

namespace fathom {
namespace {

void add_low_rank(Context& ctx, const Tensor& y, const LinearInput& x, const LowRank& low_rank) {
  // A and B are linears like any other, trained ones without an adapter of their own.
  Context plain = ctx;
  plain.adapter = nullptr;
  plain.adapter_rows = {};
  plain.observer = nullptr;
  const Tensor h = linear(plain, x, low_rank.a);  // [T, r]
  const Tensor z = linear(plain, h, low_rank.b);  // [T, O]
  ctx.backend.add_scaled(y, z, low_rank.scale);
  if (ctx.tape)
    ctx.tape->record(y, [z, scale = low_rank.scale, &backend = ctx.backend](const Tensor& dy, Gradients& grads) {
      backend.add_scaled(grads.of(z), dy, scale);
    });
}

}  // namespace

void add_low_ranks(Context& ctx, const Tensor& y, const LinearInput& x, const std::string& weight) {
  if (ctx.adapter) {
    if (const LowRank* low_rank = ctx.adapter->find(weight)) add_low_rank(ctx, y, x, *low_rank);
    return;
  }
  for (const AdapterRows& part : ctx.adapter_rows) {
    const LowRank* low_rank = part.adapter->find(weight);
    if (!low_rank) continue;
    check(!ctx.tape && part.row + part.rows <= x.rows(), "rows of the batch, at inference");
    add_low_rank(ctx, y.slice(part.row, part.rows), LinearInput(ctx, x.x().slice(part.row, part.rows)), *low_rank);
  }
}

}  // namespace fathom
