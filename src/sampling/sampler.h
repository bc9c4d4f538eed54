// Draws the next token of one sequence from its logits: engine/scheduler.cc owns one Sampler per sequence and calls
// draw() once per new token, observe() for every token of prompt and output. The order of steps and the random numbers
// are spec/numerics.md 7: what is drawn depends on logits, parameters, history, seed, choice and position alone.
// One thread at a time per Sampler; copies are independent (the choices of a request start as copies).
#pragma once
#include <cstdint>
#include <span>

#include "sampling/params.h"
#include "sampling/token_history.h"
#include "sampling/token_mask.h"

namespace fathom {

class Sampler {
 public:
  /// vocab_size V: the length of a row of logits. Throws Error if params.validate() does, or a biased id is not below
  /// V.
  Sampler(SamplingParams params, size_t vocab_size);

  /// A token of the sequence, prompt first, each once and in order. Throws Error if id is not in 0..V-1.
  void observe(TokenId id, bool from_prompt);

  /// The token at `position` (counted from the sequence's own 0) given logits [V] f32; the order of steps:
  ///   penalties, bias, mask; temperature 0: the largest, lowest id among equals; else x = logit / temperature,
  ///   w = exp(x - max x);
  ///   top-k: the k largest x;
  ///   top-p: the fewest largest x whose w sum to at least top_p * (sum over all left). Each w is here rounded down to
  ///   a
  ///     multiple of 2^-40, so that sums are exact and no order of summation needs a sort;
  ///   min-p: those with w >= min_p * (largest w). Ties go to the lower id;
  ///   u from (seed, position, choice, prompt, step): the first id, ascending, whose running sum of w exceeds u *
  ///   total.
  /// In double by fixed operations. Allocates nothing once the calling thread has drawn from rows this long.
  /// Throws Error if a logit is NaN or +infinity, or if none is left that is not -infinity.
  /// Sources: top-p arXiv:1904.09751, min-p arXiv:2407.01082.
  TokenId draw(std::span<const float> logits, uint32_t position, TokenMask mask = {}) const;

  const SamplingParams& params() const { return params_; }

 private:
  SamplingParams params_;
  size_t vocab_size_;
  bool penalises_;
  TokenHistory history_;
};

}  // namespace fathom
