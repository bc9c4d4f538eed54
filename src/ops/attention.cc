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

}  // namespace

Tensor attention(Context& ctx, const Tensor& q, const Tensor& k, const Tensor& v, std::span<const SequenceRows> rows,
                 const LayerCache& layer, size_t heads, size_t kv_heads, float scale) {
  check_rows(q, rows);
  check(!ctx.tape, "attention has no backward yet");
  require_shape("value", v, k.shape());
  if (q.shape().back() * kv_heads != k.shape().back() * heads)
    throw Error(cat("attention: expected ", heads, " query heads and ", kv_heads,
                    " key heads of one size, found rows of ", q.shape().back(), " and ", k.shape().back()));
  ctx.backend.store_kv(rows, layer, k, v, kv_heads);
  Tensor out = ctx.like(q);
  ctx.backend.attention(out, q, rows, layer, heads, kv_heads, scale);
  return out;
}

Tensor attention_mla(Context& ctx, const Tensor& q, const Tensor& latent_row, std::span<const SequenceRows> rows,
                     const LayerCache& layer, size_t heads, size_t latent, float scale) {
  check_rows(q, rows);
  check(!ctx.tape, "attention_mla has no backward yet");
  if (q.shape().back() != heads * latent_row.shape().back())
    throw Error(cat("attention: expected ", heads, " heads of ", latent_row.shape().back(), " values, found rows of ",
                    q.shape().back()));
  ctx.backend.store_latent(rows, layer, latent_row);
  Tensor out = ctx.make(DType::kF32, {q.rows(), heads * latent});
  ctx.backend.attention_mla(out, q, rows, layer, heads, latent, scale);
  return out;
}

}  // namespace fathom
