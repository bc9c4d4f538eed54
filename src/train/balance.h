// Balance of a router's experts: the bias update that needs no loss, the sequence-wise loss, and the load that reports
// show. Called by the training loop after each step. Pure functions: any thread. Formulas: spec/training.md 5.2.
// Source: arXiv:2412.19437, section 2.1.2.
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace fathom {

/// bias[e] += gamma * sign(mean count - counts[e]): up for experts with fewer tokens than the mean, down for more,
/// unchanged at the mean (compared in whole numbers).
///   bias [E], a router's e_score_correction_bias;  counts [E] tokens per expert over the whole update
void update_router_bias(std::span<float> bias, std::span<const int64_t> counts, float gamma);

/// The largest count over the mean: 1 is perfect balance, E the worst. 1 without any token.
double expert_load(std::span<const int64_t> counts);

struct SequenceBalance {
  std::vector<double> f;  ///< [E] E / (K T) * tokens that have e among their K largest scores; ties to the lower id
  std::vector<double> p;  ///< [E] mean over tokens of the score's share in its row
  double loss = 0;        ///< sum of f p; alpha is the caller's
  std::vector<double> derivatives;  ///< [T, E] d loss / d scores, through p only
};

/// Of one sequence; scores [T, E], above 0, without bias. In double, in token order, then in expert order.
SequenceBalance sequence_balance(std::span<const float> scores, size_t experts, size_t chosen);

}  // namespace fathom
