#include "sampling/params.h"

#include <cmath>
#include <limits>
#include <string_view>

#include "base/error.h"

namespace fathom {
namespace {

// Below this, logit / temperature would gain nothing over greedy and could leave the range of double.
constexpr double kSmallestTemperature = 1e-9, kLargestTemperature = 1000;
constexpr int kLargestWindow = 1 << 24;
constexpr size_t kMostBiases = 4096;

void require_between(std::string_view field, double value, double low, double high) {
  if (!(value >= low && value <= high))  // NaN fails too
    throw Error(cat("sampling: ", field, ": expected ", low, " to ", high, ", found ", value));
}

}  // namespace

void SamplingParams::validate() const {
  if (temperature != 0 && !(temperature >= kSmallestTemperature && temperature <= kLargestTemperature))
    throw Error(cat("sampling: temperature: expected 0 (greedy) or ", kSmallestTemperature, " to ", kLargestTemperature,
                    ", found ", temperature));
  if (top_k < 0) throw Error(cat("sampling: top_k: expected 0 (all) or more, found ", top_k));
  require_between("top_p", top_p, 0, 1);
  require_between("min_p", min_p, 0, 1);
  require_between("repetition_penalty", repetition_penalty, 0.01, 100);
  require_between("presence_penalty", presence_penalty, -2, 2);
  require_between("frequency_penalty", frequency_penalty, -2, 2);
  if (penalty_window < 0 || penalty_window > kLargestWindow)
    throw Error(cat("sampling: penalty_window: expected 0 (all) to ", kLargestWindow, ", found ", penalty_window));
  if (logit_bias.size() > kMostBiases)
    throw Error(cat("sampling: logit_bias: expected at most ", kMostBiases, " tokens, found ", logit_bias.size()));
  for (const auto& [id, bias] : logit_bias) {
    if (id < 0) throw Error(cat("sampling: logit_bias: expected a token id of 0 or more, found ", id));
    if (bias != -std::numeric_limits<double>::infinity())
      require_between(cat("logit_bias of token ", id), bias, -100, 100);
  }
}

}  // namespace fathom
