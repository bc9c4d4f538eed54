#include "train/objectives.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "train/exp.h"

namespace fathom {
namespace {

constexpr double kLeastProbability = 1e-10;

double sum(std::span<const float> values) {
  double total = 0;
  for (const float v : values) total += v;
  return total;
}

/// The probability of all that is not among the teacher's k.
double teacher_rest(std::span<const float> p, size_t token) {
  double total = 0;
  for (const float value : p) {
    if (!(value >= 0 && value <= 1))
      throw Error(cat("teacher's token ", token, ": expected probabilities from 0 to 1, found ", value));
    total += value;
  }
  if (total > 1.001)
    throw Error(cat("teacher's token ", token, ": expected probabilities that add up to at most 1, found ", total));
  return std::max(1 - total, kLeastProbability);
}

}  // namespace

std::vector<float> cross_entropy(std::span<const float> logprobs, std::span<const uint8_t> counted, size_t count,
                                 double& loss) {
  check(counted.size() == logprobs.size(), "cross_entropy: one count for each token");
  std::vector<float> derivatives(logprobs.size());
  for (size_t t = 0; t < logprobs.size(); ++t) {
    if (!counted[t]) continue;
    loss -= logprobs[t] / static_cast<double>(count);
    derivatives[t] = static_cast<float>(-1 / static_cast<double>(count));
  }
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

std::vector<float> distillation_loss(std::span<const float> teacher, std::span<const float> student, size_t k,
                                     std::span<const uint8_t> counted, size_t count, Divergence divergence,
                                     double& loss) {
  const size_t tokens = counted.size();
  check(teacher.size() == tokens * k && student.size() == tokens * (k + 1), "distillation_loss: k and k + 1 a token");
  std::vector<float> derivatives(student.size());
  for (size_t t = 0; t < tokens; ++t) {
    if (!counted[t]) continue;
    const std::span<const float> top = teacher.subspan(t * k, k);
    const double rest = teacher_rest(top, t);
    for (size_t i = 0; i <= k; ++i) {
      const double p = i < k ? top[i] : rest, log_p = std::log(std::max(p, kLeastProbability));
      const double log_q = student[t * (k + 1) + i], difference = log_q - log_p;
      const bool forward = divergence == Divergence::kForward;
      const double q = forward ? 0 : exp_any(log_q);
      loss += (forward ? -p * difference : q * difference) / static_cast<double>(count);
      derivatives[t * (k + 1) + i] =
          static_cast<float>((forward ? -p : q * (difference + 1)) / static_cast<double>(count));
    }
  }
  return derivatives;
}

}  // namespace fathom
