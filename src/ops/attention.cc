#include "ops/attention.h"

namespace fathom {
namespace {

void check_rows(const Tensor& q, std::span<const SequenceRows> rows) {
  size_t total = 0;
  for (const SequenceRows& s : rows) {
    check(s.row == total, "the rows of a batch's sequences lie one after the other");
    total += s.rows;
  }
  check(total == q.rows(), "every row belongs to a sequence");
}

/// A backward sees whole sequences: all keys are rows of the batch.
std::vector<SequenceRows> whole_sequences(std::span<const SequenceRows> rows) {
  for (const SequenceRows& s : rows) check(s.position == 0, "training computes a sequence from its start");
  return {rows.begin(), rows.end()};
}

}  // namespace

Tensor attention(Context& ctx, const Tensor& q, const Tensor& k, const Tensor& v, std::span<const SequenceRows> rows,
                 const LayerCache& layer, size_t heads, size_t kv_heads, float scale) {
  check_rows(q, rows);
  require_shape("value", v, k.shape());
  if (q.shape().back() * kv_heads != k.shape().back() * heads)
    throw Error(cat("attention: expected ", heads, " query heads and ", kv_heads,
                    " key heads of one size, found rows of ", q.shape().back(), " and ", k.shape().back()));
  const size_t d = q.shape().back() / heads;
  const AttentionShape shape{heads, kv_heads, d, d, scale};
  Tensor out = ctx.like(q);
  if (q.dtype() == DType::kF64) {
    ctx.backend.attention_rows(out, q, k, v, rows, shape);
  } else {
    ctx.backend.store_kv(rows, layer, k, v, kv_heads);
    ctx.backend.attention(out, q, rows, layer, heads, kv_heads, scale);
  }
  if (ctx.tape) {
    const std::vector<SequenceRows> kept = whole_sequences(rows);
    ctx.tape->record(
        out, [q, k, v, kept, shape, type = layer.type, &backend = ctx.backend](const Tensor& dy, Gradients& grads) {
          backend.attention_backward({grads.of(q), grads.of(k), grads.of(v)}, dy, q,
                                     backend.as_cached(k, shape.kv_heads, type),
                                     backend.as_cached(v, shape.kv_heads, type), kept, shape);
        });
  }
  return out;
}

Tensor attention_mla(Context& ctx, const Tensor& q, const Tensor& latent_row, std::span<const SequenceRows> rows,
                     const LayerCache& layer, size_t heads, size_t latent, float scale) {
  check_rows(q, rows);
  if (q.shape().back() != heads * latent_row.shape().back())
    throw Error(cat("attention: expected ", heads, " heads of ", latent_row.shape().back(), " values, found rows of ",
                    q.shape().back()));
  const AttentionShape shape{heads, 1, latent_row.shape().back(), latent, scale};
  Tensor out = ctx.make(q.dtype(), {q.rows(), heads * latent});
  if (q.dtype() == DType::kF64) {
    ctx.backend.attention_rows(out, q, latent_row, latent_row, rows, shape);
  } else {
    ctx.backend.store_latent(rows, layer, latent_row);
    ctx.backend.attention_mla(out, q, rows, layer, heads, latent, scale);
  }
  if (ctx.tape) {
    const std::vector<SequenceRows> kept = whole_sequences(rows);
    ctx.tape->record(out, [q, latent_row, kept, shape, type = layer.type, &backend = ctx.backend](const Tensor& dy,
                                                                                                  Gradients& grads) {
      const Tensor cached = backend.as_cached(latent_row, 1, type);
      const Tensor& d = grads.of(latent_row);
      backend.attention_backward({grads.of(q), d, d}, dy, q, cached, cached, kept, shape);
    });
  }
  return out;
}

}  // namespace fathom
