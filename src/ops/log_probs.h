// Log-probabilities of given tokens: what every loss of language-model training is a function of.
#pragma once
#include "ops/linear.h"

namespace fathom {

/// Log-probability of targets [T] i32 (negative: none, 0) under softmax(W hidden / temperature): hidden [T, D] -> [T]
/// f32. Logits exist for a tile of tokens at a time, in the forward and again in the backward, so that no [T, V] is
/// held:
///   d logits = d logp / temperature * (1[target] - softmax);  spec/numerics.md 2: l - (m + log(row sum of exp(l -
///   m))).
/// Throws Error if a target is not below V or the temperature not above 0.
Tensor token_log_probs(Context& ctx, const Tensor& hidden, const Weight& head, const Tensor& targets,
                       float temperature = 1);

}  // namespace fathom
