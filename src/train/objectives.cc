#include "train/objectives.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "train/exp.h"

namespace fathom {
namespace {

double sum(std::span<const float> values) {
  double total = 0;
  for (const float v : values) total += v;
  return total;
}

double share_of(int64_t count) { return 1 / static_cast<double>(std::max<int64_t>(count, 1)); }

}  // namespace

void add_cross_entropy(std::span<const float> logprobs, std::span<const int32_t> targets, int64_t count, double& loss) {
  check(targets.size() == logprobs.size(), "cross_entropy: one target for each token");
  const double share = share_of(count);
  for (size_t t = 0; t < logprobs.size(); ++t)
    if (targets[t] >= 0) loss -= static_cast<double>(logprobs[t]) * share;
}

std::vector<float> cross_entropy_derivatives(std::span<const int32_t> targets, int64_t count, double weight) {
  std::vector<float> derivatives(targets.size());
  const auto derivative = static_cast<float>(-weight * share_of(count));
  for (size_t t = 0; t < targets.size(); ++t)
    if (targets[t] >= 0) derivatives[t] = derivative;
  return derivatives;
}

PreferenceDerivatives dpo_loss(const PreferencePair& pair, double beta, size_t pairs, PreferenceSums& sums) {
  check(pair.chosen.size() == pair.ref_chosen.size() && pair.rejected.size() == pair.ref_rejected.size(),
        "dpo_loss: the reference's tokens are the model's");
  const double chosen = beta * (sum(pair.chosen) - sum(pair.ref_chosen));
  const double rejected = beta * (sum(pair.rejected) - sum(pair.ref_rejected));
  const double z = chosen - rejected, small = fixed_exp(-std::abs(z));  // e^-|z| overflows nowhere
  const double miss = z > 0 ? small / (1 + small) : 1 / (1 + small);    // sigmoid(-z)
  sums.loss += (std::max(-z, 0.0) + std::log1p(small)) / static_cast<double>(pairs);
  sums.chosen_reward += chosen;
  sums.rejected_reward += rejected;
  ++sums.pairs;
  sums.preferred += z > 0;
  const auto derivative = static_cast<float>(beta * miss / static_cast<double>(pairs));
  return {-derivative, derivative};
}

}  // namespace fathom
