// Log-probabilities of tokens as the API and the trainer report them: raw ones of a row of logits, in f32 with the sums
// of spec/numerics.md 2, so that the trainer's value for a sampled token is this one bit for bit. Called by engine/ and
// server/. Pure functions, any thread.
#pragma once
#include <cstddef>
#include <span>
#include <vector>

#include "text/tokenizer_spec.h"

namespace fathom {

struct TokenLogprob {
  TokenId id;
  float logprob;
};

struct TopLogprobs {
  TokenLogprob chosen;
  std::vector<TokenLogprob> top;  ///< the n most likely, the most likely first, lower id first among equals
};

/// m + log(sum of exp(l - m)), m the largest logit, the sum as a row sum (16 partial sums, then a tree).
///   logits [V] f32, -infinity allowed. Throws Error if one is NaN or +infinity, or all are -infinity.
float log_sum_exp(std::span<const float> logits);

/// The log-probabilities l - log_sum_exp(logits) of `chosen` and of the n most likely tokens (fewer if fewer are
/// possible), before temperature and penalties. Throws Error as log_sum_exp, or if chosen is not in 0..V-1.
TopLogprobs log_softmax_top(std::span<const float> logits, TokenId chosen, size_t n);

/// How many tokens are likelier than `chosen`, or as likely with a lower id, and itself: 1 is the likeliest.
size_t rank_of(std::span<const float> logits, TokenId chosen);

/// The log-probability of `chosen` under softmax(l / temperature), each l / temperature rounded to f32: what a rollout
/// stores. Temperature 1 gives the raw one. Throws Error as log_softmax_top, or if the temperature is not positive.
float log_softmax_at(std::span<const float> logits, TokenId chosen, float temperature = 1);

}  // namespace fathom
