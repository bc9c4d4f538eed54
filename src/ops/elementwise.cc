#include "ops/elementwise.h"

#include "ops/linear.h"

namespace fathom {

Tensor embed(Context& ctx, const Tensor& ids, const Weight& table) {
  for (const int32_t id : ids.span<int32_t>())
    if (id < 0 || static_cast<size_t>(id) >= table.O())
      throw Error(cat("token id ", id, ": expected 0 to ", table.O() - 1, ", the rows of ", table.name()));
  Tensor y = ctx.make(table.dtype() == DType::kF64 ? DType::kF64 : DType::kF32, {ids.count(), table.K()});
  ctx.backend.embed(y, ids, table);
  if (ctx.tape && is_trained(ctx, table))
    ctx.tape->record(y, [ids, &table, &backend = ctx.backend](const Tensor& dy, Gradients& grads) {
      backend.embed_backward(grads.of(table), dy, ids);
    });
  return y;
}

Tensor take_rows(Context& ctx, const Tensor& x, const Tensor& rows) {
  Tensor y = ctx.make(x.dtype(), {rows.count(), x.shape().back()});
  ctx.backend.gather_rows(y, x, rows);
  if (ctx.tape)
    ctx.tape->record(y, [x, rows, &backend = ctx.backend](const Tensor& dy, Gradients& grads) {
      backend.embed_backward(grads.of(x), dy, rows);
    });
  return y;
}

Tensor rms_norm(Context& ctx, const Tensor& x, const Tensor& weight, float eps) {
  if (weight.shape().rank() != 1 || weight.count() == 0 || x.count() % weight.count() != 0)
    throw Error(cat("norm weight: expected [", x.shape().back(), "], found ", weight.shape()));
  Tensor y = ctx.like(x);
  ctx.backend.rms_norm(y, x, weight, eps);
  if (ctx.tape)
    ctx.tape->record(y, [x, weight, eps, &backend = ctx.backend](const Tensor& dy, Gradients& grads) {
      backend.rms_norm_backward(grads.of(x), grads.of(weight), dy, x, weight, eps);
    });
  return y;
}

Tensor silu_mul(Context& ctx, const Tensor& gate, const Tensor& up) {
  require_shape("up", up, gate.shape());
  Tensor y = ctx.like(gate);
  ctx.backend.silu_mul(y, gate, up);
  if (ctx.tape)
    ctx.tape->record(y, [gate, up, &backend = ctx.backend](const Tensor& dy, Gradients& grads) {
      backend.silu_mul_backward(grads.of(gate), grads.of(up), dy, gate, up);
    });
  return y;
}

void copy_columns(Context& ctx, const Tensor& y, const Tensor& x, const Columns& c) {
  ctx.backend.copy_columns(y, c.y_column, c.y_step, x, c.x_column, c.x_step, c.groups, c.n);
  if (ctx.tape)
    ctx.tape->record(y, [x, c, &backend = ctx.backend](const Tensor& dy, Gradients& grads) {
      backend.copy_columns_backward(grads.of(x), c.x_column, c.x_step, dy, c.y_column, c.y_step, c.groups, c.n);
    });
}

Tensor add(Context& ctx, const Tensor& a, const Tensor& b) {
  require_shape("summand", b, a.shape());
  Tensor y = ctx.like(a);
  ctx.backend.add(y, a, b);
  if (ctx.tape)
    ctx.tape->record(y, [a, b, &backend = ctx.backend](const Tensor& dy, Gradients& grads) {
      backend.accumulate(grads.of(a), dy);
      backend.accumulate(grads.of(b), dy);
    });
  return y;
}

}  // namespace fathom
