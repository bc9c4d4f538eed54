#include "kernels/cpu/route.h"

#include <algorithm>
#include <limits>

namespace fathom {
namespace {

constexpr float kExcluded = -std::numeric_limits<float>::infinity();

/// Marks the k largest of n values in `taken` (1 or 0), the lower index first among equals; k <= n. Values that are NaN
/// come last, so that k different ones are always found.
void take_best(const float* x, size_t n, size_t k, float* taken) {
  std::fill_n(taken, n, 0.0f);
  for (size_t i = 0; i < k; ++i) {
    size_t best = n;
    for (size_t j = 0; j < n; ++j)
      if (taken[j] == 0 && (best == n || x[j] > x[best] || (x[best] != x[best] && x[j] == x[j]))) best = j;
    taken[best] = 1;
  }
}

float group_score(const float* choice, size_t n, bool by_two_best) {
  float best = kExcluded, second = kExcluded;
  for (size_t i = 0; i < n; ++i) {
    if (choice[i] > best)
      second = best, best = choice[i];
    else if (choice[i] > second)
      second = choice[i];
  }
  return by_two_best && n > 1 ? best + second : best;
}

/// Leaves only the topk_group best groups among the choices; others become -inf. scratch: 2 n_group floats.
void keep_best_groups(const RouterConfig& config, float* choice, float* scratch) {
  const size_t groups = config.n_group, size = config.n_experts / groups;
  float *scores = scratch, *taken = scratch + groups;
  for (size_t g = 0; g < groups; ++g) scores[g] = group_score(choice + g * size, size, config.group_by_two_best);
  take_best(scores, groups, config.topk_group, taken);
  for (size_t g = 0; g < groups; ++g)
    if (taken[g] == 0) std::fill_n(choice + g * size, size, kExcluded);
}

}  // namespace

size_t route_scratch(const RouterConfig& config) { return 3 * config.n_experts + 2 * config.n_group; }

void route_token(const Kernels& k, const RouterConfig& config, const float* logits, const float* bias, int32_t* ids,
                 float* gates, float* scratch) {
  const size_t E = config.n_experts, top_k = config.top_k;
  float *score = scratch, *choice = scratch + E, *taken = scratch + 2 * E;
  if (config.sigmoid)
    k.sigmoid(score, logits, E);
  else
    k.softmax(score, logits, E);
  for (size_t e = 0; e < E; ++e) choice[e] = bias ? score[e] + bias[e] : score[e];
  if (config.n_group > 1) keep_best_groups(config, choice, scratch + 3 * E);
  take_best(choice, E, top_k, taken);
  for (size_t e = 0, i = 0; e < E; ++e)
    if (taken[e] != 0) ids[i++] = static_cast<int32_t>(e);
  float sum = 0;
  for (size_t i = 0; i < top_k; ++i) sum += gates[i] = score[ids[i]];
  if (config.normalize) {
    for (size_t i = 0; i < top_k; ++i) gates[i] = gates[i] / (sum + 1e-20f);
    if (!config.scale_when_normalized) return;
  }
  for (size_t i = 0; i < top_k; ++i) gates[i] = gates[i] * config.scale;
}

}  // namespace fathom
