// A loaded decoder-only model: one forward for chat, server, evaluation and training (law 1). Immutable: any number of
// threads may read it, each with its own Context. Engine owns it together with its weights.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "base/function_ref.h"
#include "cache/kv_cache.h"
#include "models/parts/part.h"
#include "models/weights.h"

namespace fathom {

/// Tokens of one or more sequences, each sequence's rows together.
struct Batch {
  Tensor ids;         ///< [T] i32
  Tensor embeddings;  ///< [T, D] f32 instead of ids (images), else undefined
  Tensor positions;   ///< [T] i32: each row's position in its sequence
  std::span<const SequenceRows> rows;
};

/// One pre-norm decoder layer. Source: arXiv:2412.19437, figure 2.
struct DecoderLayer {
  Tensor input_layernorm, post_attention_layernorm;
  std::unique_ptr<Attention> self_attn;
  std::unique_ptr<FeedForward> mlp;

  /// a = x + self_attn(norm(x)); a + mlp(norm(a)). [T, D] -> [T, D]; stores T positions in cache.
  Tensor forward(Context& ctx, const Tensor& x, const ForwardState& state, const LayerCache& cache, float eps) const;
};

/// The multi-token prediction module of V3 and R1. Source: arXiv:2412.19437, section 2.2.
struct MtpModule {
  const Weight *embed_tokens = nullptr, *eh_proj = nullptr, *head = nullptr;
  Tensor enorm, hnorm, shared_head_norm;
  DecoderLayer layer;
};

/// What a position of the KV cache holds: the layers, then the first MTP module's.
KvLayout kv_layout(const ModelConfig& config, CacheType type);

class Model {
 public:
  const ModelConfig& config() const { return config_; }
  const Weights& weights() const { return *weights_; }
  KvLayout kv_layout(CacheType type) const { return fathom::kv_layout(config_, type); }
  bool has_mtp() const { return mtp_ != nullptr; }

  /// Hidden states after the final norm, [T, D]. Stores T positions in the pages of every sequence in the batch.
  /// Undefined where ctx.stop ended it; what the pages hold at the batch's positions is then worth nothing.
  Tensor forward(Context& ctx, const Batch& batch, const KvLayout& cache) const;
  /// Logits [T, V] of hidden states [T, D].
  Tensor logits(Context& ctx, const Tensor& hidden) const;
  /// Log-probabilities [T] of targets [T] i32 (negative: none, 0) after hidden states [T, D] (ops/log_probs.h).
  Tensor log_probs(Context& ctx, const Tensor& hidden, const Tensor& targets, float temperature = 1) const;
  Tensor mtp_log_probs(Context& ctx, const Tensor& hidden, const Tensor& targets) const;
  /// Logits of hidden states, tile after tile, and the way back from them (ops/log_probs.h).
  void for_logits(Context& ctx, const Tensor& hidden, Gradients* grads,
                  FunctionRef<void(size_t first, const Tensor& logits)> f) const;
  /// The MTP module at positions i: batch.ids holds the tokens t_{i+1}, hidden the rows h_i that forward() returned.
  /// Hidden states [T, D] after the module's norm, for mtp_logits. Stores T positions of the module's layer.
  Tensor mtp_forward(Context& ctx, const Batch& batch, const Tensor& hidden, const KvLayout& cache) const;
  /// Logits [T, V] of what mtp_forward returned: they predict t_{i+2}.
  Tensor mtp_logits(Context& ctx, const Tensor& hidden) const;

 private:
  friend class ModelBuilder;
  Tensor embed_batch(Context& ctx, const Batch& batch, const Weight& table) const;

  ModelConfig config_;
  std::shared_ptr<const Weights> weights_;
  const Weight *embed_tokens_ = nullptr, *lm_head_ = nullptr;
  Tensor norm_;
  RopeTable rope_;
  std::vector<DecoderLayer> layers_;
  std::unique_ptr<const MtpModule> mtp_;  // null where the checkpoint has none
};

/// Builds the model that the checkpoint's model_type names. Throws Error that lists the known ones, or names a tensor
/// that is absent or has another shape.
std::unique_ptr<const Model> load_model(const Checkpoint& checkpoint, const LoadOptions& options = {});

}  // namespace fathom
