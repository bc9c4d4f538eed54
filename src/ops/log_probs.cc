#include "ops/log_probs.h"

#include <algorithm>

namespace fathom {
namespace {

constexpr size_t kTileNumbers = size_t{16} << 20;

/// Rows of the tile from t on: about `wanted`, no pair of rows cut.
size_t tile_rows(size_t t, size_t wanted, size_t rows, std::span<const uint32_t> sequence_ends) {
  const size_t end = std::min(t + wanted, rows);
  size_t begin = 0;
  for (const uint32_t next : sequence_ends) {
    if (end < next) return end - t + (end - begin) % 2;
    begin = next;
  }
  return end - t;
}

/// The sequences' ends within the tile, counted from its start.
std::vector<uint32_t> ends_of_tile(std::span<const uint32_t> sequence_ends, size_t t, size_t n) {
  std::vector<uint32_t> out;
  for (const uint32_t end : sequence_ends)
    if (end > t && end < t + n) out.push_back(end - static_cast<uint32_t>(t));
  if (!sequence_ends.empty()) out.push_back(static_cast<uint32_t>(n));
  return out;
}

// Each tile reads the head anew, and in the backward its gradient too: 500 tokens pay for that where the vocabulary has
// 32,000.
void tiled_logits(Context& ctx, const Tensor& hidden, const Weight& head, std::span<const uint32_t> sequence_ends,
                  Gradients* grads, FunctionRef<void(size_t first, const Tensor& logits)> f) {
  Context plain{.backend = ctx.backend, .profile = ctx.profile};
  const size_t wanted = std::max<size_t>(16, kTileNumbers / head.O());
  for (size_t t = 0, n = 0; t < hidden.rows(); t += n) {
    n = tile_rows(t, wanted, hidden.rows(), sequence_ends);
    const Tensor logits = linear(plain, hidden.slice(t, n), head);
    f(t, logits);
    if (!grads) continue;
    const std::vector<uint32_t> ends = ends_of_tile(sequence_ends, t, n);
    LinearBackward task = backward_of(head, is_trained(ctx, head), n, logits, hidden, *grads, ends);
    task.x_offset = task.dx_offset = t * head.K();
    ctx.backend.linear_backward({&task, 1});
  }
}

}  // namespace

void for_logits(Context& ctx, const Tensor& hidden, const Weight& head, Gradients* grads,
                FunctionRef<void(size_t first, const Tensor& logits)> f) {
  const std::vector<uint32_t> ends = grads ? sequence_ends(ctx, head, hidden.rows()) : std::vector<uint32_t>();
  tiled_logits(ctx, hidden, head, ends, grads, f);
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
    ctx.tape->record(out, [hidden, &head, targets, temperature, ends = sequence_ends(ctx, head, hidden.rows()),
                           &backend = ctx.backend, profile = ctx.profile,
                           adapter = ctx.adapter](const Tensor& dy, Gradients& grads) {
      Context again{.backend = backend, .profile = profile, .adapter = adapter};
      tiled_logits(again, hidden, head, ends, &grads, [&](size_t t, const Tensor& logits) {
        const size_t n = logits.rows();
        backend.log_probs(make_tensor(hidden.dtype(), {n}), logits, targets.slice(t, n), temperature);
        backend.log_probs_backward(logits, dy.slice(t, n), targets.slice(t, n), temperature);
      });
    });
  return out;
}

}  // namespace fathom
