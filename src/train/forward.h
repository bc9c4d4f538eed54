// One forward of training over whole sequences, and its backward: the model's own forward with a tape (law 1), from
// samples to the log-probabilities of their targets. Losses are functions of those. One thread.
#pragma once
#include <memory>
#include <span>
#include <vector>

#include "autograd/tape.h"
#include "cache/kv_cache.h"
#include "models/model.h"
#include "train/sample.h"

namespace fathom {

struct ForwardOptions {
  Profile profile = Profile::kExact;
  CacheType cache_type = CacheType::kF32;
  float temperature = 1;
  bool mtp = false;                  ///< the MTP module too
  const Adapter* adapter = nullptr;  ///< is trained, and the model frozen; null: the model is trained
  double balance_weight = 0;         ///< of each sequence's balance loss: alpha / sequences of the step
  bool recompute = false;            ///< activation checkpointing
  bool head = true;       ///< false: stop at the hidden states, no log-probabilities; the loss is one of for_logits
  bool last_row = false;  ///< compute the last token too, which predicts nothing but counts in balance and loads
  /// The experts of every row, taken instead of the routers' choice; outlives the backward. Null: they choose.
  const std::vector<ExpertChoice>* kept_choices = nullptr;
  bool note_choices = false;  ///< pass().choices is wanted
};

class TrainingForward {
 public:
  /// Computes the samples together, each from its position 0. `tape` false: no backward, nothing is kept. Throws Error
  /// where a sample has fewer than two tokens or an id is outside the vocabulary.
  TrainingForward(Backend& backend, const Model& model, std::span<const Sample> samples, const ForwardOptions& options,
                  bool tape = true);
  ~TrainingForward();

  /// [T] log-probabilities by row: row i holds a token, its target is the next one. Rows whose target does not count
  /// have 0.
  std::span<const float> log_probs() const { return log_probs_.span<float>(); }
  std::span<const int32_t> targets() const { return targets_.span<int32_t>(); }  ///< -1: does not count
  /// With options.head false: the logits of all rows (ops/log_probs.h); with `gradients` what f leaves in them, d loss
  /// / d logits, goes on to the head and waits at the hidden states for backward({}, ...).
  void for_logits(Gradients* gradients, FunctionRef<void(size_t first, const Tensor& logits)> f);
  /// By those: what log_probs() of a forward with a head would be. With `gradients` the derivatives d loss /
  /// d log-probability [T], known beforehand, go on to the head and the hidden states from the same logits, which are
  /// computed once instead of twice; to the bit what the other way gives, but that the MTP module's gradient of the
  /// hidden states is added after the head's.
  std::vector<float> log_probs_of_known(std::span<const float> dlog_probs, Gradients* gradients);
  /// The logits of rows [first, first + n) alone, without a way back.
  Tensor logits(size_t first, size_t n);
  /// Of the MTP module, which predicts the token after the next; empty without it.
  std::span<const float> mtp_log_probs() const;
  std::span<const int32_t> mtp_targets() const;
  const TrainingPass& pass() const { return pass_; }  ///< balance loss and loads
  /// First row of each sample in log_probs().
  const std::vector<SequenceRows>& rows() const { return rows_; }

  /// Adds to the gradients what d loss / d log-probability of each row passes on; none are given without a head. Once.
  void backward(std::span<const float> dlog_probs, std::span<const float> dmtp_log_probs, Gradients& gradients);

 private:
  Context context(Tape* tape);
  void lay_rows(std::span<const Sample> samples, bool last_row);
  void run_mtp(Context& ctx, const Model& model, std::span<const Sample> samples, const Tensor& hidden);

  Backend& backend_;
  const Model& model_;
  ForwardOptions options_;
  Tape tape_;
  TrainingPass pass_;
  KvPool pool_;
  std::vector<KvSequence> sequences_;
  std::vector<SequenceRows> rows_, mtp_rows_;
  Tensor ids_, positions_, targets_, mtp_targets_;
  Tensor hidden_;  // [T, D]; kept without a head
  Tensor log_probs_, mtp_log_probs_;
};

/// How many targets of the samples count, of the trunk and of the MTP module.
struct TargetCounts {
  int64_t tokens = 0, mtp_tokens = 0;
};
TargetCounts count_targets(std::span<const Sample> samples);

}  // namespace fathom
