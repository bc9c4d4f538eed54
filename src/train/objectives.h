// Losses over log-probabilities that the model has computed: supervised, preferences (DPO), distillation. The policy
// losses of reinforcement learning are in policy_loss.h. Each returns or writes d loss / d log-probability and adds the
// loss, in double and in token order, to sums that the caller keeps: with counts of the whole update given, neither
// depends on how the batch is cut into micro-batches of whole sequences.
// Called by the training loop. Pure functions: any thread.
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace fathom {

/// Mean cross-entropy over counted tokens: loss = -(sum of logprobs[t] where counted[t]) / count.
///   logprobs [T] of the target tokens;  counted [T] 0 or 1;  count: counted tokens of the whole update
///   returns d loss / d logprobs [T]: -1 / count or 0;  adds to `loss`. Source: spec/training.md 4.3.
std::vector<float> cross_entropy(std::span<const float> logprobs, std::span<const uint8_t> counted, size_t count,
                                 double& loss);

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

enum class Divergence {
  kForward,  ///< KL(teacher || student): covers all that the teacher does
  kReverse,  ///< KL(student || teacher): keeps to what the teacher finds likely
};

/// Distillation from a teacher's k most likely tokens, all others lumped into one outcome, so k + 1 outcomes per token:
///   p = teacher [T, k], and p_rest = 1 - sum, at least 1e-10;  log q = student [T, k + 1], the last log of its rest
///   forward: loss of a token = sum of p (log p - log q);   d / d log q = -p
///   reverse: loss of a token = sum of q (log q - log p);   d / d log q = q (log q - log p + 1)
/// A p below 1e-10 is taken as 1e-10 in log p. The mean is over counted tokens: divided by `count`, those of the whole
/// update. Returns the derivatives [T, k + 1], each taken as if the others stood still (the caller's softmax couples
/// them), and adds to `loss`. Throws Error naming the token where the teacher's values are no probabilities: outside
/// [0, 1], or a sum above 1.001. The logarithm is libm's. Sources: arXiv:1503.02531; arXiv:2306.08543 for the reverse
/// form.
std::vector<float> distillation_loss(std::span<const float> teacher, std::span<const float> student, size_t k,
                                     std::span<const uint8_t> counted, size_t count, Divergence divergence,
                                     double& loss);

}  // namespace fathom
