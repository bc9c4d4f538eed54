// Policy gradients without a critic: GRPO and what was published after it (DAPO, Dr. GRPO, BNPO, V3.2's additions), as
// functions of per-token log-probabilities and of one advantage per sequence.
// Called by the reinforcement loop. Pure functions: any thread. Formulas: spec/training.md 2, 6 and 7. Sources:
// arXiv:2402.03300 (GRPO), 2503.14476 (DAPO), 2503.20783 (Dr. GRPO), 2512.02556 (V3.2); BNPO as TRL has it.
#pragma once
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

namespace fathom {

/// What a group's rewards are divided by after their mean is taken off.
enum class Deviation {
  kSample,      ///< n - 1 in the denominator
  kPopulation,  ///< n
  kNone,        ///< Dr. GRPO: not divided
};

/// Advantages of one group: (r - mean(r)) / std(r), in double in order, nothing added to the deviation. 0 where all
/// rewards are equal.
std::vector<float> group_advantages(std::span<const double> rewards, Deviation deviation);

/// Whether all rewards of a group are equal: it has no gradient, and dynamic sampling draws another instead.
bool all_equal(std::span<const double> rewards);

/// DAPO's soft penalty for length, to be added to the reward: 0 for length <= expected, then a straight line to -1 at
/// expected + cache, and -1 beyond. Lengths in tokens.
double overlong_penalty(size_t length, size_t expected, size_t cache);

/// What the sum over tokens is divided by.
enum class LossMean {
  kSequences,       ///< GRPO: each sequence's own length, then the number of sequences of the update
  kTokens,          ///< DAPO: the number of tokens of the update
  kLocalTokens,     ///< BNPO: the number of tokens of this call
  kConstantLength,  ///< Dr. GRPO: the number of sequences of the update times max_length
};

struct PolicyObjective {
  double eps_low = 0.2, eps_high = 0.2;  ///< the ratio is clipped to [1 - eps_low, 1 + eps_high]
  double beta = 0;                       ///< weight of the KL to the reference; 0: none needed
  bool unbiased_kl = false;              ///< V3.2: k3 times the ratio
  LossMean mean = LossMean::kSequences;
  size_t max_length = 0;                     ///< kConstantLength: tokens
  Deviation deviation = Deviation::kSample;  ///< for group_advantages; policy_loss does not read it
  /// V3.2: a sequence with a negative advantage whose mean of log(old / new) is above this has no policy term.
  std::optional<double> off_policy_delta;
};

/// The published settings by name: "grpo" (beta 0.04), "dapo", "dr_grpo" (max_length is left to the caller), "bnpo".
/// Throws Error naming the known ones.
PolicyObjective policy_objective(std::string_view name);

/// Whole sequences, their completion tokens one after the other: N tokens, S sequences.
struct PolicyBatch {
  std::span<const float> logprobs;      ///< [N] of the model in training
  std::span<const float> old_logprobs;  ///< [N] of the policy that drew them
  std::span<const float> ref_logprobs;  ///< [N] of the reference; empty: none (beta must be 0)
  std::span<const size_t> lengths;      ///< [S] tokens each, with the end token; they add up to N
  std::span<const float> advantages;    ///< [S]
  std::span<const uint8_t> kept;        ///< [S] 0: left out (truncated, filtered); empty: all are kept
};

/// Divisors of the whole update, over all its micro-batches.
struct PolicyCounts {
  size_t sequences = 0;  ///< those left out included: they count as sequences without loss
  size_t tokens = 0;     ///< of kept sequences
};
PolicyCounts count_policy(std::span<const size_t> lengths, std::span<const uint8_t> kept);

/// What a step reports, added up over its micro-batches in order; zero before the first. Over tokens of kept sequences.
struct PolicySums {
  double loss = 0;
  double ratio = 0, ratio_max = 0;  ///< new / old probability: sum, largest
  double kl = 0;                    ///< sum of k3 to the reference; 0 without one
  double logprob = 0;               ///< sum under the model in training
  size_t tokens = 0, clipped_high = 0, clipped_low = 0;
  size_t sequences = 0, left_out = 0, off_policy = 0;  ///< off_policy: without policy term by off_policy_delta

  double mean_ratio() const { return per_token(ratio); }
  double mean_kl() const { return per_token(kl); }
  /// Estimate of the entropy in nats per token, from the tokens that were drawn.
  double entropy() const { return -per_token(logprob); }
  double clip_fraction_high() const { return per_token(static_cast<double>(clipped_high)); }
  double clip_fraction_low() const { return per_token(static_cast<double>(clipped_low)); }

 private:
  double per_token(double sum) const { return tokens ? sum / static_cast<double>(tokens) : 0; }
};

/// loss = - sum over kept sequences i and tokens t of w_i (M_i min(rho A_i, clip(rho) A_i) - beta KL), where
///   rho = exp(new - old);  d = ref - new;  KL = exp(d) - d - 1, times rho if unbiased_kl;  w_i by `mean`;
///   M_i = 0 for sequences that off_policy_delta takes out, else 1.
/// A token is clipped, its policy term without derivative, if A > 0 and rho > 1 + eps_high or A < 0 and rho <
/// 1 - eps_low. Computed in double per token. Returns d loss / d logprobs [N] and adds to `sums`; with counts of the
/// whole update neither depends on the cut into micro-batches (kLocalTokens does, by its definition).
std::vector<float> policy_loss(const PolicyBatch& batch, const PolicyObjective& objective, const PolicyCounts& counts,
                               PolicySums& sums);

}  // namespace fathom
