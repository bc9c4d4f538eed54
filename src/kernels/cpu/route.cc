#include "kernels/cpu/route.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace fathom {
namespace {

template <class F>
constexpr F kExcluded = -std::numeric_limits<F>::infinity();

/// Marks the k largest of n values in `taken` (1 or 0), the lower index first among equals; k <= n. Values that are NaN
/// come last, so that k different ones are always found.
template <class F>
void take_best(const F* x, size_t n, size_t k, F* taken) {
  std::fill_n(taken, n, F(0));
  for (size_t i = 0; i < k; ++i) {
    size_t best = n;
    for (size_t j = 0; j < n; ++j)
      if (taken[j] == 0 && (best == n || x[j] > x[best] || (std::isnan(x[best]) && !std::isnan(x[j])))) best = j;
    taken[best] = 1;
  }
}

template <class F>
F group_score(const F* choice, size_t n, bool by_two_best) {
  F best = kExcluded<F>, second = kExcluded<F>;
  for (size_t i = 0; i < n; ++i) {
    if (choice[i] > best)
      second = best, best = choice[i];
    else if (choice[i] > second)
      second = choice[i];
  }
  return by_two_best && n > 1 ? best + second : best;
}

/// Leaves only the topk_group best groups among the choices; others become -inf. scratch: 2 n_group numbers.
template <class F>
void keep_best_groups(const RouterConfig& config, F* choice, F* scratch) {
  const size_t groups = config.n_group, size = config.n_experts / groups;
  F *scores = scratch, *taken = scratch + groups;
  for (size_t g = 0; g < groups; ++g) scores[g] = group_score(choice + g * size, size, config.group_by_two_best);
  take_best(scores, groups, config.topk_group, taken);
  for (size_t g = 0; g < groups; ++g)
    if (taken[g] == 0) std::fill_n(choice + g * size, size, kExcluded<F>);
}

template <class F>
void score_of(const Math<F>& math, const RouterConfig& config, F* score, const F* logits) {
  if (config.sigmoid)
    math.sigmoid(score, logits, config.n_experts);
  else
    math.softmax(score, logits, config.n_experts);
}

template <class F>
void gates_of(const RouterConfig& config, const F* score, const int32_t* ids, F* gates) {
  const size_t top_k = config.top_k;
  F sum = 0;
  for (size_t i = 0; i < top_k; ++i) sum += gates[i] = score[ids[i]];
  const auto scale = static_cast<F>(config.scale);
  if (config.normalize) {
    for (size_t i = 0; i < top_k; ++i) gates[i] = gates[i] / (sum + F(1e-20f));
    if (!config.scale_when_normalized) return;
  }
  for (size_t i = 0; i < top_k; ++i) gates[i] = gates[i] * scale;
}

/// dlogits += the gradient of scores, given d score: through the sigmoid of each, or the softmax of all.
template <class F>
void score_backward(const RouterConfig& config, F* dlogits, const F* dscore, const F* score) {
  const size_t E = config.n_experts;
  F sum = 0;
  if (!config.sigmoid)
    for (size_t e = 0; e < E; ++e) sum = std::fma(dscore[e], score[e], sum);
  for (size_t e = 0; e < E; ++e)
    dlogits[e] += config.sigmoid ? dscore[e] * score[e] * (F(1) - score[e]) : score[e] * (dscore[e] - sum);
}

}  // namespace

size_t route_scratch(const RouterConfig& config) { return 3 * config.n_experts + 2 * config.n_group; }

template <class F>
void route_token(const Math<F>& math, const RouterConfig& config, const F* logits, const F* bias, int32_t* ids,
                 F* gates, F* scratch) {
  const size_t E = config.n_experts, top_k = config.top_k;
  F *score = scratch, *choice = scratch + E, *taken = scratch + 2 * E;
  score_of(math, config, score, logits);
  for (size_t e = 0; e < E; ++e) choice[e] = bias ? score[e] + bias[e] : score[e];
  if (config.n_group > 1) keep_best_groups(config, choice, scratch + 3 * E);
  take_best(choice, E, top_k, taken);
  for (size_t e = 0, i = 0; e < E; ++e)
    if (taken[e] != 0) ids[i++] = static_cast<int32_t>(e);
  gates_of(config, score, ids, gates);
}

template <class F>
void gate_chosen_token(const Math<F>& math, const RouterConfig& config, const F* logits, const int32_t* ids, F* gates,
                       F* scratch) {
  score_of(math, config, scratch, logits);
  gates_of(config, scratch, ids, gates);
}

template <class F>
void route_token_backward(const Math<F>& math, const RouterConfig& config, F* dlogits, const F* dgates, const F* logits,
                          const int32_t* ids, F* scratch) {
  const size_t E = config.n_experts, top_k = config.top_k;
  F *score = scratch, *dscore = scratch + E;
  score_of(math, config, score, logits);
  std::fill_n(dscore, E, F(0));
  const auto scale = config.normalize && !config.scale_when_normalized ? F(1) : static_cast<F>(config.scale);
  F sum = 0, along = 0;
  for (size_t i = 0; i < top_k; ++i) {
    sum += score[ids[i]];
    along = std::fma(dgates[i], score[ids[i]], along);
  }
  const F whole = sum + F(1e-20f);
  for (size_t i = 0; i < top_k; ++i)
    dscore[ids[i]] = config.normalize ? scale / whole * (dgates[i] - along / whole) : scale * dgates[i];
  score_backward(config, dlogits, dscore, score);
}

template <class F>
double sequence_balance_loss(const Math<F>& math, const RouterConfig& config, F* dlogits, const F* logits, size_t T,
                             F weight, F* scratch) {
  const size_t E = config.n_experts;
  F *score = scratch, *taken = scratch + E, *dscore = taken;
  F *often = scratch + route_scratch(config), *share = often + E;
  std::fill_n(often, 2 * E, F(0));
  for (size_t t = 0; t < T; ++t) {
    score_of(math, config, score, logits + t * E);
    take_best(score, E, config.top_k, taken);
    F sum = 0;
    for (size_t e = 0; e < E; ++e) sum += score[e];
    for (size_t e = 0; e < E; ++e) often[e] += taken[e], share[e] += score[e] / sum;
  }
  double loss = 0;
  for (size_t e = 0; e < E; ++e) {
    often[e] = often[e] * static_cast<F>(E) / static_cast<F>(config.top_k * T);
    loss += static_cast<double>(often[e]) * static_cast<double>(share[e]) / static_cast<double>(T);
  }
  if (!dlogits) return loss;
  for (size_t t = 0; t < T; ++t) {
    score_of(math, config, score, logits + t * E);
    F sum = 0, along = 0;
    for (size_t e = 0; e < E; ++e) sum += score[e], along = std::fma(often[e], score[e], along);
    for (size_t e = 0; e < E; ++e) dscore[e] = weight / static_cast<F>(T) / sum * (often[e] - along / sum);
    score_backward(config, dlogits + t * E, dscore, score);
  }
  return loss;
}

template void route_token(const Math<float>&, const RouterConfig&, const float*, const float*, int32_t*, float*,
                          float*);
template void route_token(const Math<double>&, const RouterConfig&, const double*, const double*, int32_t*, double*,
                          double*);
template void gate_chosen_token(const Math<float>&, const RouterConfig&, const float*, const int32_t*, float*, float*);
template void gate_chosen_token(const Math<double>&, const RouterConfig&, const double*, const int32_t*, double*,
                                double*);
template void route_token_backward(const Math<float>&, const RouterConfig&, float*, const float*, const float*,
                                   const int32_t*, float*);
template void route_token_backward(const Math<double>&, const RouterConfig&, double*, const double*, const double*,
                                   const int32_t*, double*);
template double sequence_balance_loss(const Math<float>&, const RouterConfig&, float*, const float*, size_t, float,
                                      float*);
template double sequence_balance_loss(const Math<double>&, const RouterConfig&, double*, const double*, size_t, double,
                                      double*);

}  // namespace fathom
