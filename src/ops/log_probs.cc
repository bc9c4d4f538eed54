#include "ops/log_probs.h"

#include <algorithm>

namespace fathom {
namespace {

constexpr size_t kTileNumbers = size_t{16} << 20;

}  // namespace

// Each tile reads the head anew, and in the backward its gradient too: 500 tokens pay for that where the vocabulary has
// 32,000.
void for_logits(Context& ctx, const Tensor& hidden, const Weight& head, Gradients* grads,
                FunctionRef<void(size_t first, const Tensor& logits)> f) {
  Context plain{.backend = ctx.backend, .profile = ctx.profile};
  const size_t tile = std::max<size_t>(16, kTileNumbers / head.O());
  for (size_t t = 0; t < hidden.rows(); t += tile) {
    const size_t n = std::min(tile, hidden.rows() - t);
    const Tensor logits = linear(plain, hidden.slice(t, n), head);
    f(t, logits);
    if (!grads) continue;
    LinearBackward task = backward_of(head, is_trained(ctx, head), n, logits, hidden, *grads);
    task.x_offset = t * head.K();
    task.dx = grads->of(hidden);
    task.dx_offset = t * head.K();
    ctx.backend.linear_backward({&task, 1});
  }
}

Tensor token_log_probs(Context& ctx, const Tensor& hidden, const Weight& head, const Tensor& targets,
                       float temperature) {
  require_shape("targets", targets, {hidden.rows()});
  for (const int32_t id : targets.span<int32_t>())
    if (id >= 0 && static_cast<size_t>(id) >= head.O())
      throw Error(cat("target token: expected an id below ", head.O(), ", found ", id));
  if (!(temperature > 0)) throw Error(cat("temperature: expected more than 0, found ", temperature));
  Tensor out = ctx.make(hidden.dtype(), {hidden.rows()});
  for_logits(ctx, hidden, head, nullptr, [&](size_t t, const Tensor& logits) {
    const size_t n = logits.rows();
    ctx.backend.log_probs(out.slice(t, n), logits, targets.slice(t, n), temperature);
  });
  if (ctx.tape)
    ctx.tape->record(out, [hidden, &head, targets, temperature, &backend = ctx.backend, profile = ctx.profile,
                           adapter = ctx.adapter](const Tensor& dy, Gradients& grads) {
      Context again{.backend = backend, .profile = profile, .adapter = adapter};
      for_logits(again, hidden, head, &grads, [&](size_t t, const Tensor& logits) {
        const size_t n = logits.rows();
        backend.log_probs(make_tensor(hidden.dtype(), {n}), logits, targets.slice(t, n), temperature);
        backend.log_probs_backward(logits, dy.slice(t, n), targets.slice(t, n), temperature);
      });
    });
  return out;
}

}  // namespace fathom
