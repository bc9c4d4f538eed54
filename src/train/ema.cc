#include "train/ema.h"

#include "train/blocks.h"

namespace fathom {

Ema::Ema(std::vector<Parameter> parameters, double decay) : parameters_(std::move(parameters)), decay_(decay) {
  check(decay >= 0 && decay < 1, "an average's decay lies in [0, 1)");
  for (const Parameter& p : parameters_) averages_.push_back(from_values(p.value.span<const float>(), p.value.shape()));
}

void Ema::update(ThreadPool& pool) {
  const auto decay = static_cast<float>(decay_), rest = static_cast<float>(1 - decay_);
  for (size_t i = 0; i < parameters_.size(); ++i) {
    const std::span<const float> p = parameters_[i].value.span<const float>();
    const std::span<float> average = averages_[i].span<float>();
    for_blocks(pool, p.size(), [&](size_t begin, size_t end) {
      for (size_t j = begin; j < end; ++j) average[j] = decay * average[j] + rest * p[j];
    });
  }
}

NamedTensors Ema::state() const {
  NamedTensors state;
  for (size_t i = 0; i < parameters_.size(); ++i) state.emplace_back("ema." + parameters_[i].name, averages_[i]);
  return state;
}

}  // namespace fathom
