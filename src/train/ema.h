// An exponential average of the weights, for evaluation and the final checkpoint. Called by the training loop after
// each optimizer step. One thread.
#pragma once
#include <vector>

#include "base/thread_pool.h"
#include "train/parameter.h"

namespace fathom {

class Ema {
 public:
  /// Begins as a copy of the masters. `decay` in [0, 1): the share of the old average that a step keeps.
  Ema(std::vector<Parameter> parameters, double decay);
  /// e = decay * e + (1 - decay) * p per value, in f32 from left to right; the number of threads changes nothing.
  void update(ThreadPool& pool);
  /// `ema.NAME` of each parameter, f32, the live memory: writing the values of a checkpoint into it resumes there.
  NamedTensors state() const;

 private:
  std::vector<Parameter> parameters_;
  std::vector<Tensor> averages_;  // in the order of the parameters
  double decay_;
};

}  // namespace fathom
