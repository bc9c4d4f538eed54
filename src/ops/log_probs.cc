#include "ops/log_probs.h"

#include <algorithm>

namespace fathom {
namespace {

constexpr size_t kTileNumbers = size_t{16} << 20;

/// Calls f(first token, tokens) for tiles whose logits take some 64 MB; no result depends on the size. Each tile reads
/// the head anew, and in the backward its gradient too: 500 tokens pay for that where the vocabulary has 32,000.
template <class F>
void for_tiles(size_t T, size_t V, const F& f) {
  const size_t rows = std::max<size_t>(16, kTileNumbers / V);
  for (size_t t = 0; t < T; t += rows) f(t, std::min(rows, T - t));
}

/// Scaled logits of a tile, and their targets' log-probabilities in out.
Tensor tile_logits(Backend& backend, Profile profile, const Tensor& hidden, const Weight& head, const Tensor& out,
                   const Tensor& targets, float temperature) {
  Context ctx{.backend = backend, .profile = profile};
  const Tensor logits = linear(ctx, hidden, head);
  backend.log_probs(out, logits, targets, temperature);
  return logits;
}

}  // namespace

Tensor token_log_probs(Context& ctx, const Tensor& hidden, const Weight& head, const Tensor& targets,
                       float temperature) {
  require_shape("targets", targets, {hidden.rows()});
  for (const int32_t id : targets.span<int32_t>())
    if (id >= 0 && static_cast<size_t>(id) >= head.O())
      throw Error(cat("target token: expected an id below ", head.O(), ", found ", id));
  if (!(temperature > 0)) throw Error(cat("temperature: expected more than 0, found ", temperature));
  Tensor out = ctx.make(hidden.dtype(), {hidden.rows()});
  for_tiles(hidden.rows(), head.O(), [&](size_t t, size_t n) {
    tile_logits(ctx.backend, ctx.profile, hidden.slice(t, n), head, out.slice(t, n), targets.slice(t, n), temperature);
  });
  if (ctx.tape)
    ctx.tape->record(out, [hidden, &head, trained = is_trained(ctx, head), targets, temperature, &backend = ctx.backend,
                           profile = ctx.profile](const Tensor& dy, Gradients& grads) {
      const Tensor& dhidden = grads.of(hidden);
      for_tiles(hidden.rows(), head.O(), [&](size_t t, size_t n) {
        const Tensor again = make_tensor(hidden.dtype(), {n});
        const Tensor logits =
            tile_logits(backend, profile, hidden.slice(t, n), head, again, targets.slice(t, n), temperature);
        backend.log_probs_backward(logits, dy.slice(t, n), targets.slice(t, n), temperature);
        LinearBackward task = backward_of(head, trained, n, logits, hidden, grads);
        task.x_offset = t * head.K();
        task.dx = dhidden;
        task.dx_offset = t * head.K();
        backend.linear_backward({&task, 1});
      });
    });
  return out;
}

}  // namespace fathom
