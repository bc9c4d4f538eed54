#include "models/model.h"

#include "ops/elementwise.h"
#include "ops/log_probs.h"
#include "ops/recompute.h"

namespace fathom {

Tensor DecoderLayer::forward(Context& ctx, const Tensor& x, const ForwardState& state, const LayerCache& cache,
                             float eps) const {
  const Tensor a = add(ctx, x, self_attn->forward(ctx, rms_norm(ctx, x, input_layernorm, eps), state, cache));
  return add(ctx, a, mlp->forward(ctx, rms_norm(ctx, a, post_attention_layernorm, eps)));
}

namespace {

/// A layer's forward; where training says so, one that keeps its input alone.
Tensor run_layer(Context& ctx, const DecoderLayer& layer, const Tensor& x, const ForwardState& state,
                 const LayerCache& cache, float eps) {
  if (!ctx.tape || !ctx.training || !ctx.training->recompute) return layer.forward(ctx, x, state, cache, eps);
  return recomputed(ctx, x, [&layer, state, cache, eps](Context& c, const Tensor& input) {
    return layer.forward(c, input, state, cache, eps);
  });
}

}  // namespace

KvLayout kv_layout(const ModelConfig& config, CacheType type) {
  KvLayout layout{.type = type};
  for (size_t i = 0; i < config.num_hidden_layers + (config.num_nextn_predict_layers ? 1 : 0); ++i) {
    if (config.is_mla())
      layout.add_mla(config.kv_lora_rank + config.qk_rope_head_dim);
    else
      layout.add_gqa(config.num_key_value_heads, config.head_dim);
  }
  return layout;
}

Tensor Model::embed_batch(Context& ctx, const Batch& batch, const Weight& table) const {
  if (!batch.embeddings.defined()) return embed(ctx, batch.ids, table);
  require_shape("input embeddings", batch.embeddings, {batch.positions.count(), config_.hidden_size});
  return batch.embeddings;
}

Tensor Model::forward(Context& ctx, const Batch& batch, const KvLayout& cache) const {
  const auto eps = static_cast<float>(config_.rms_norm_eps);
  ctx.begin_forward();
  if (ctx.training) ctx.training->rows = batch.rows;
  const ForwardState state{batch.rows, rope_angles(ctx, batch.positions, rope_)};
  ctx.begin_layer();
  Tensor x = embed_batch(ctx, batch, *embed_tokens_);  // [T, D]
  for (size_t i = 0; i < layers_.size(); ++i) {
    if (ctx.stop && (*ctx.stop)()) return {};
    ctx.begin_layer();
    x = run_layer(ctx, layers_[i], x, state, cache.layers[i], eps);
    if (ctx.observer) ctx.observer->layer_output(i, x);
  }
  ctx.begin_layer();
  return rms_norm(ctx, x, norm_, eps);
}

Tensor Model::logits(Context& ctx, const Tensor& hidden) const { return linear(ctx, hidden, *lm_head_); }

Tensor Model::mtp_forward(Context& ctx, const Batch& batch, const Tensor& hidden, const KvLayout& cache) const {
  check(mtp_ != nullptr, "the model has an MTP module");
  const auto eps = static_cast<float>(config_.rms_norm_eps);
  const size_t T = batch.positions.count(), D = config_.hidden_size;
  ctx.begin_forward();
  if (ctx.training) ctx.training->rows = batch.rows;
  const ForwardState state{batch.rows, rope_angles(ctx, batch.positions, rope_)};
  ctx.begin_layer();
  const Tensor joined = ctx.make(DType::kF32, {T, 2 * D});  // [enorm(embedding); hnorm(h)]
  const Tensor embedding = rms_norm(ctx, embed_batch(ctx, batch, *mtp_->embed_tokens), mtp_->enorm, eps);
  copy_columns(ctx, joined, embedding, {.n = D});
  copy_columns(ctx, joined, rms_norm(ctx, hidden, mtp_->hnorm, eps), {.y_column = D, .n = D});
  const Tensor y =
      run_layer(ctx, mtp_->layer, linear(ctx, joined, *mtp_->eh_proj), state, cache.layers[layers_.size()], eps);
  return rms_norm(ctx, y, mtp_->shared_head_norm, eps);
}

Tensor Model::log_probs(Context& ctx, const Tensor& hidden, const Tensor& targets, float temperature) const {
  return token_log_probs(ctx, hidden, *lm_head_, targets, temperature);
}

Tensor Model::mtp_log_probs(Context& ctx, const Tensor& hidden, const Tensor& targets) const {
  return token_log_probs(ctx, hidden, *mtp_->head, targets);
}

void Model::for_logits(Context& ctx, const Tensor& hidden, Gradients* grads,
                       FunctionRef<void(size_t first, const Tensor& logits)> f) const {
  fathom::for_logits(ctx, hidden, *lm_head_, grads, f);
}

Tensor Model::mtp_logits(Context& ctx, const Tensor& hidden) const { return linear(ctx, hidden, *mtp_->head); }

}  // namespace fathom
