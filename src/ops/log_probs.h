// Log-probabilities of given tokens: what every loss of language-model training is a function of.
#pragma once
#include "base/function_ref.h"
#include "ops/linear.h"

namespace fathom {

/// Calls f(first, logits) with the logits [n, V] of hidden [T, D] after `head`, for tiles of n tokens from `first` on,
/// ascending: some 64 MB at a time, so that no [T, V] is held. No result depends on the tiles.
/// `grads` not null: f leaves d loss / d logits in them, and it is passed on to hidden and, where it is trained, to the
/// head. Nothing is recorded on a tape: the caller's loss does both passes at once.
void for_logits(Context& ctx, const Tensor& hidden, const Weight& head, Gradients* grads,
                FunctionRef<void(size_t first, const Tensor& logits)> f);

/// Log-probability of targets [T] i32 (negative: none, 0) under softmax(W hidden / temperature): hidden [T, D] -> [T]
/// f32. Logits exist for a tile of tokens at a time, in the forward and again in the backward, so that no [T, V] is
/// held:
///   d logits = d logp / temperature * (1[target] - softmax);  spec/numerics.md 2: l - (m + log(row sum of exp(l -
///   m))).
/// Throws Error if a target is not below V or the temperature not above 0.
Tensor token_log_probs(Context& ctx, const Tensor& hidden, const Weight& head, const Tensor& targets,
                       float temperature = 1);

}  // namespace fathom
