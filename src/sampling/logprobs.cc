#include "sampling/logprobs.h"

#include <algorithm>
#include <limits>

#include "base/error.h"
#include "kernels/kernels.h"
#include "sampling/select_top.h"

namespace fathom {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

void require_usable(std::span<const float> logits) {
  bool possible = false;
  for (size_t i = 0; i < logits.size(); ++i) {
    if (!(logits[i] < kInfinity)) [[unlikely]]
      throw Error(
          cat("logits: expected finite numbers or -inf, found ", logits[i], " for token ", i, " of ", logits.size()));
    possible |= logits[i] > -kInfinity;
  }
  if (!possible) throw Error(cat("logits: expected a token that is possible, found -inf for all ", logits.size()));
}

void require_token(TokenId chosen, size_t vocab_size) {
  if (chosen < 0 || static_cast<size_t>(chosen) >= vocab_size)
    throw Error(cat("log-probability: expected a token id below ", vocab_size, ", found ", chosen));
}

}  // namespace

float log_sum_exp(std::span<const float> logits) {
  require_usable(logits);
  return best_kernels().log_sum_exp(logits.data(), logits.size());
}

TopLogprobs log_softmax_top(std::span<const float> logits, TokenId chosen, size_t n) {
  require_token(chosen, logits.size());
  const float normaliser = log_sum_exp(logits);
  const auto logprob = [&](TokenId id) { return TokenLogprob{id, logits[static_cast<size_t>(id)] - normaliser}; };
  std::vector<Scored> ranked;
  select_top(logits, n, ranked);
  std::sort(ranked.begin(), ranked.end(), ranks_before);
  TopLogprobs out{logprob(chosen), {}};
  out.top.reserve(ranked.size());
  for (const Scored& token : ranked) out.top.push_back(logprob(token.index));
  return out;
}

size_t rank_of(std::span<const float> logits, TokenId chosen) {
  require_token(chosen, logits.size());
  const Scored own{logits[static_cast<size_t>(chosen)], chosen};
  size_t rank = 1;
  for (size_t i = 0; i < logits.size(); ++i) rank += ranks_before({logits[i], static_cast<int32_t>(i)}, own) ? 1 : 0;
  return rank;
}

float log_softmax_at(std::span<const float> logits, TokenId chosen, float temperature) {
  require_token(chosen, logits.size());
  if (!(temperature > 0 && temperature < kInfinity))
    throw Error(cat("log-probability: expected a temperature above 0, found ", temperature));
  if (temperature == 1) return logits[static_cast<size_t>(chosen)] - log_sum_exp(logits);
  std::vector<float> scaled(logits.begin(), logits.end());
  for (float& l : scaled) l /= temperature;
  return scaled[static_cast<size_t>(chosen)] - log_sum_exp(scaled);
}

}  // namespace fathom
