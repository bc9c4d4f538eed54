#include "ops/adapter.h"

namespace fathom {

void add_low_rank(Context& ctx, const Tensor& y, const LinearInput& x, const LowRank& low_rank) {
  // A and B are linears like any other, trained ones without an adapter of their own.
  Context plain = ctx;
  plain.adapter = nullptr;
  plain.observer = nullptr;
  const Tensor h = linear(plain, x, low_rank.a);  // [T, r]
  const Tensor z = linear(plain, h, low_rank.b);  // [T, O]
  ctx.backend.add_scaled(y, z, low_rank.scale);
  if (ctx.tape)
    ctx.tape->record(y, [z, scale = low_rank.scale, &backend = ctx.backend](const Tensor& dy, Gradients& grads) {
      backend.add_scaled(grads.of(z), dy, scale);
    });
}

}  // namespace fathom
