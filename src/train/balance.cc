#include "train/balance.h"

#include <algorithm>
#include <numeric>

#include "base/error.h"

namespace fathom {

void update_router_bias(std::span<float> bias, std::span<const int64_t> counts, float gamma) {
  check(bias.size() == counts.size(), "one count for each expert");
  const int64_t total = std::accumulate(counts.begin(), counts.end(), int64_t{0});
  const auto experts = static_cast<int64_t>(counts.size());
  for (size_t e = 0; e < bias.size(); ++e) {
    const int64_t scaled = counts[e] * experts;
    if (scaled < total) bias[e] += gamma;
    if (scaled > total) bias[e] -= gamma;
  }
}

double expert_load(std::span<const int64_t> counts) {
  const int64_t total = std::accumulate(counts.begin(), counts.end(), int64_t{0});
  if (total == 0) return 1;
  const auto largest = static_cast<double>(*std::max_element(counts.begin(), counts.end()));
  return largest * static_cast<double>(counts.size()) / static_cast<double>(total);
}

SequenceBalance sequence_balance(std::span<const float> scores, size_t experts, size_t chosen) {
  check(chosen > 0 && chosen <= experts && !scores.empty() && scores.size() % experts == 0, "a router's scores");
  const size_t tokens = scores.size() / experts;
  SequenceBalance balance{std::vector<double>(experts), std::vector<double>(experts), 0,
                          std::vector<double>(scores.size())};
  std::vector<size_t> ids(experts);
  std::vector<double> row_sums(tokens);
  for (size_t t = 0; t < tokens; ++t) {
    const std::span<const float> row = scores.subspan(t * experts, experts);
    std::iota(ids.begin(), ids.end(), size_t{0});
    std::stable_sort(ids.begin(), ids.end(), [&](size_t a, size_t b) { return row[a] > row[b]; });
    for (size_t i = 0; i < chosen; ++i) ++balance.f[ids[i]];
    for (const float s : row) row_sums[t] += s;
    for (size_t e = 0; e < experts; ++e) balance.p[e] += row[e] / row_sums[t];
  }
  const auto T = static_cast<double>(tokens);
  for (size_t e = 0; e < experts; ++e) {
    balance.f[e] *= static_cast<double>(experts) / (static_cast<double>(chosen) * T);
    balance.p[e] /= T;
    balance.loss += balance.f[e] * balance.p[e];
  }
  for (size_t t = 0; t < tokens; ++t) {
    // share_j = s_j / sum: d share_j / d s_e = ([j = e] - share_j) / sum
    double mean_f = 0;
    for (size_t e = 0; e < experts; ++e) mean_f += balance.f[e] * scores[t * experts + e] / row_sums[t];
    for (size_t e = 0; e < experts; ++e)
      balance.derivatives[t * experts + e] = (balance.f[e] - mean_f) / (T * row_sums[t]);
  }
  return balance;
}

}  // namespace fathom
