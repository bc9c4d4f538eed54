// Losses over log-probabilities that the model has computed: supervised, preferences (DPO). The policy losses of
// reinforcement learning are in policy_loss.h, what distillation compares in divergence.h. Each returns or writes
// d loss / d log-probability and adds the loss, in double and in token order, to sums that the caller keeps: with
// counts of the whole update given, neither depends on how the batch is cut into micro-batches of whole sequences.
// Called by the training loop. Pure functions: any thread.
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace fathom {

/// Mean cross-entropy over counted tokens: loss = -(sum of logprobs[t] where targets[t] >= 0) / count.
///   logprobs [T] of the targets;  targets [T], below 0 where a token does not count;  count: those of the whole update
///   (none: the loss is 0)
///   adds the loss to `loss`. Source: spec/training.md 4.3.
void add_cross_entropy(std::span<const float> logprobs, std::span<const int32_t> targets, int64_t count, double& loss);
/// d (weight loss) / d logprobs [T] of that loss, whatever the log-probabilities are: -weight / count or 0.
std::vector<float> cross_entropy_derivatives(std::span<const int32_t> targets, int64_t count, double weight = 1);

/// The log-probabilities of a preferred and of a rejected completion, under the trained model and the reference.
struct PreferencePair {
  std::span<const float> chosen, rejected;
  std::span<const float> ref_chosen, ref_rejected;  ///< of the same lengths
};

/// What a step reports; zero before its first pair.
struct PreferenceSums {
  double loss = 0;
  double chosen_reward = 0, rejected_reward = 0;  ///< beta (log pi - log ref), summed over pairs
  size_t pairs = 0, preferred = 0;                ///< preferred: the chosen one has the larger reward
};

/// d loss / d log-probability, the same for each token of a completion.
struct PreferenceDerivatives {
  float chosen = 0, rejected = 0;
};

/// DPO: loss = -log sigmoid(z) / pairs, z = beta ((c - ref c) - (r - ref r)), where c and r are the sums of a
/// completion's log-probabilities; d loss / d c = -beta sigmoid(-z) / pairs = -(d loss / d r).
///   pairs: of the whole update. Source: arXiv:2305.18290.
PreferenceDerivatives dpo_loss(const PreferencePair& pair, double beta, size_t pairs, PreferenceSums& sums);

}  // namespace fathom
