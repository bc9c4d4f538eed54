#include "ops/rope.h"

namespace fathom {

RopeAngles rope_angles(Context& ctx, const Tensor& positions, const RopeTable& table) {
  const Shape shape = {positions.count(), table.inv_freq.count()};
  RopeAngles angles{ctx.make_for_forward(DType::kF32, shape), ctx.make_for_forward(DType::kF32, shape),
                    table.interleaved};
  ctx.backend.rope_angles(angles.cos, angles.sin, positions, table.inv_freq, table.magnitude);
  return angles;
}

Tensor rope(Context& ctx, const Tensor& x, size_t heads, const RopeAngles& angles, size_t offset) {
  const size_t width = x.shape().back(), head_dim = heads ? width / heads : 0;
  if (heads == 0 || width % heads != 0 || offset + 2 * angles.cos.shape().back() > head_dim ||
      x.rows() != angles.cos.dim(0))
    throw Error(cat("rope: expected rows of ", heads, " heads with room for ", 2 * angles.cos.shape().back(),
                    " values at ", offset, ", found ", x.shape()));
  Tensor y = ctx.like(x);
  ctx.backend.copy_columns(y, 0, 0, x, 0, 0, 1, width);
  ctx.backend.rope(y, heads, head_dim, offset, angles.cos, angles.sin, angles.interleaved);
  if (ctx.tape)
    ctx.tape->record(
        y, [x, heads, head_dim, offset, angles, &backend = ctx.backend](const Tensor& dy, Gradients& grads) {
          backend.rope_backward(grads.of(x), dy, heads, head_dim, offset, angles.cos, angles.sin, angles.interleaved);
        });
  return y;
}

}  // namespace fathom
