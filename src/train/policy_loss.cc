#include "train/policy_loss.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "train/exp.h"

namespace fathom {
namespace {

struct Term {
  double value, derivative;  ///< of what the loss subtracts, and by the token's log-probability
};

bool clipped_high(double ratio, double advantage, const PolicyObjective& o) {
  return advantage > 0 && ratio > 1 + o.eps_high;
}
bool clipped_low(double ratio, double advantage, const PolicyObjective& o) {
  return advantage < 0 && ratio < 1 - o.eps_low;
}

Term policy_term(double ratio, double advantage, const PolicyObjective& o) {
  if (clipped_high(ratio, advantage, o)) return {(1 + o.eps_high) * advantage, 0};
  if (clipped_low(ratio, advantage, o)) return {(1 - o.eps_low) * advantage, 0};
  return {ratio * advantage, ratio * advantage};
}

/// k3: e^d - d - 1 with d = ref - new; d is falling in `new`.
Term kl_term(double d, double ratio, bool unbiased) {
  const double e = exp_any(d), k3 = e - d - 1;
  return unbiased ? Term{ratio * k3, ratio * k3 + ratio * (1 - e)} : Term{k3, 1 - e};
}

/// V3.2: the mean of log(old / new) of a sequence with a negative advantage is above delta.
bool off_policy(std::span<const float> now, std::span<const float> old, double advantage,
                const std::optional<double>& delta) {
  if (!delta || advantage >= 0) return false;
  double sum = 0;
  for (size_t t = 0; t < now.size(); ++t) sum += static_cast<double>(old[t]) - now[t];
  return sum / static_cast<double>(now.size()) > *delta;
}

void require_consistent(const PolicyBatch& batch, const PolicyObjective& objective) {
  size_t tokens = 0;
  for (const size_t length : batch.lengths) tokens += length;
  check(batch.logprobs.size() == tokens && batch.old_logprobs.size() == tokens, "policy_loss: tokens of all sequences");
  check(batch.advantages.size() == batch.lengths.size(), "policy_loss: one advantage for each sequence");
  check(batch.kept.empty() || batch.kept.size() == batch.lengths.size(), "policy_loss: one mark for each sequence");
  check(batch.ref_logprobs.size() == tokens || (batch.ref_logprobs.empty() && objective.beta == 0),
        "policy_loss: a KL needs the reference's log-probabilities");
}

}  // namespace

bool all_equal(std::span<const double> rewards) {
  return std::all_of(rewards.begin(), rewards.end(), [&](double r) { return r == rewards.front(); });
}

std::vector<float> group_advantages(std::span<const double> rewards, Deviation deviation) {
  std::vector<float> advantages(rewards.size());
  if (all_equal(rewards)) return advantages;  // not by the deviation: rounding could leave one of 1e-17
  const auto n = static_cast<double>(rewards.size());
  double sum = 0, squares = 0;
  for (const double r : rewards) sum += r;
  const double mean = sum / n;
  for (const double r : rewards) squares += (r - mean) * (r - mean);
  double divisor = 1;
  if (deviation != Deviation::kNone) divisor = std::sqrt(squares / (deviation == Deviation::kSample ? n - 1 : n));
  for (size_t i = 0; i < rewards.size(); ++i) advantages[i] = static_cast<float>((rewards[i] - mean) / divisor);
  return advantages;
}

double overlong_penalty(size_t length, size_t expected, size_t cache) {
  if (length <= expected) return 0;
  if (length > expected + cache) return -1;
  return -static_cast<double>(length - expected) / static_cast<double>(cache);
}

PolicyObjective policy_objective(std::string_view name) {
  if (name == "grpo") return {.beta = 0.04};
  if (name == "dapo") return {.eps_high = 0.28, .mean = LossMean::kTokens};
  if (name == "dr_grpo") return {.mean = LossMean::kConstantLength, .deviation = Deviation::kNone};
  if (name == "bnpo") return {.mean = LossMean::kLocalTokens};
  throw Error(cat("policy loss: expected grpo, dapo, dr_grpo or bnpo, found ", name));
}

PolicyCounts count_policy(std::span<const size_t> lengths, std::span<const uint8_t> kept) {
  PolicyCounts counts{.sequences = lengths.size()};
  for (size_t i = 0; i < lengths.size(); ++i)
    if (kept.empty() || kept[i]) counts.tokens += lengths[i];
  return counts;
}

std::vector<float> policy_loss(const PolicyBatch& batch, const PolicyObjective& objective, const PolicyCounts& counts,
                               PolicySums& sums) {
  require_consistent(batch, objective);
  const size_t local_tokens = count_policy(batch.lengths, batch.kept).tokens;
  const auto divisor = [&](size_t length) {
    switch (objective.mean) {
      case LossMean::kSequences: return static_cast<double>(counts.sequences) * static_cast<double>(length);
      case LossMean::kTokens: return static_cast<double>(counts.tokens);
      case LossMean::kLocalTokens: return static_cast<double>(local_tokens);
      case LossMean::kConstantLength: break;
    }
    return static_cast<double>(counts.sequences) * static_cast<double>(objective.max_length);
  };
  std::vector<float> derivatives(batch.logprobs.size());
  size_t first = 0;
  for (size_t i = 0; i < batch.lengths.size(); first += batch.lengths[i++]) {
    ++sums.sequences;
    if (!batch.kept.empty() && !batch.kept[i]) {
      ++sums.left_out;
      continue;
    }
    const size_t length = batch.lengths[i];
    const std::span<const float> now = batch.logprobs.subspan(first, length);
    const std::span<const float> old = batch.old_logprobs.subspan(first, length);
    const double advantage = batch.advantages[i], weight = 1 / divisor(length);
    const bool masked = off_policy(now, old, advantage, objective.off_policy_delta);
    sums.off_policy += masked;
    for (size_t t = 0; t < length; ++t) {
      const double ratio = exp_any(static_cast<double>(now[t]) - old[t]);
      Term term = masked ? Term{0, 0} : policy_term(ratio, advantage, objective);
      if (!batch.ref_logprobs.empty()) {
        const double d = static_cast<double>(batch.ref_logprobs[first + t]) - now[t];
        const Term kl = kl_term(d, ratio, objective.unbiased_kl);
        term.value -= objective.beta * kl.value;
        term.derivative -= objective.beta * kl.derivative;
        sums.kl += kl_term(d, ratio, false).value;
      }
      sums.loss -= weight * term.value;
      derivatives[first + t] = static_cast<float>(-weight * term.derivative);
      sums.ratio += ratio;
      sums.ratio_max = std::max(sums.ratio_max, ratio);
      sums.logprob += now[t];
      sums.clipped_high += clipped_high(ratio, advantage, objective);
      sums.clipped_low += clipped_low(ratio, advantage, objective);
      ++sums.tokens;
    }
  }
  return derivatives;
}

}  // namespace fathom
