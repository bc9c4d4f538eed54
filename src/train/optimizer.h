// Optimizers: AdamW for all parameters, or Muon for hidden matrices and AdamW for the rest. An update is elementwise or
// a chain of products, so the number of threads changes nothing. Called by the training loop, which owns gradients and
// learning rate (train/schedule.h). One thread. Sources: AdamW arXiv:1711.05101; constants: spec/training.md 5.3.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "base/thread_pool.h"
#include "train/muon.h"
#include "train/parameter.h"

namespace fathom {

/// sqrt of the sum of the squares of all gradients, in double: within a tensor by blocks in order, then over tensors in
/// order. NaN or infinite where a gradient is.
double gradient_norm(std::span<const Tensor> gradients, ThreadPool& pool);

/// min(1, clip / (norm + 1e-6)), computed in double: what all gradients are multiplied by.
float clip_factor(double norm, double clip);

struct AdamWStep {
  double learning_rate = 0;
  double beta1 = 0.9, beta2 = 0.95, eps = 1e-8;
  double weight_decay = 0;  ///< 0 for parameters that are not decayed
  uint64_t number = 1;      ///< t: 1 for the first step
  float scale = 1;          ///< of the gradient: the clip factor
};

/// One step, per value, in f32 from left to right; constants are computed in double and rounded once:
///   g = gradient * scale
///   m = beta1 * m + (1 - beta1) * g
///   v = beta2 * v + (1 - beta2) * g * g
///   p = p * (1 - learning_rate * weight_decay)
///   p = p - learning_rate * (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps)
/// beta^t is a product of doubles by squaring: no libm. All spans have one length, and none shares memory with another.
void adamw_update(std::span<float> p, std::span<const float> gradient, std::span<float> m, std::span<float> v,
                  const AdamWStep& step, ThreadPool& pool);

struct OptimizerOptions {
  bool muon = false;  ///< hidden matrices by Muon at the same learning rate
  double beta1 = 0.9, beta2 = 0.95, eps = 1e-8;
  double weight_decay = 0.1;  ///< of decayed parameters, by either rule
  double momentum = 0.95;     ///< Muon's
};

class Optimizer {
 public:
  /// State begins at zero. Keeps handles on the masters; names must be unique.
  Optimizer(std::vector<Parameter> parameters, const OptimizerOptions& options);

  /// One step: every master and the state change in place. `gradients` in the order of the parameters, f32, of their
  /// shapes; `scale` as from clip_factor. `multiply_add` is called for Muon only.
  void step(std::span<const Tensor> gradients, double learning_rate, float scale, ThreadPool& pool,
            MultiplyAdd multiply_add);

  const std::vector<Parameter>& parameters() const { return parameters_; }
  /// Steps taken, also before a resume.
  uint64_t steps() const;
  /// `optimizer.steps` (i64 [1]), and for each parameter `adamw.m.NAME` and `adamw.v.NAME`, or `muon.momentum.NAME`
  /// (f32, of its shape). The live memory: writing the values of a checkpoint into it resumes there.
  NamedTensors state() const;

 private:
  struct Moments {
    Tensor first, second;  // AdamW's m and v; Muon's momentum and nothing
  };
  bool by_muon(const Parameter& p) const { return options_.muon && p.hidden_matrix; }

  std::vector<Parameter> parameters_;
  OptimizerOptions options_;
  std::vector<Moments> moments_;  // in the order of the parameters
  Tensor steps_;
};

}  // namespace fathom
