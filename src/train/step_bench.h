// What a training step costs, for `fathom bench --train`: a whole step on random tokens, and the three products of a
// linear layer alone. Called by cli/bench_train.cc. One thread, whose backend has its own.
#pragma once
#include <cstdint>
#include <memory>
#include <vector>

#include "base/thread_pool.h"
#include "kernels/backend.h"
#include "train/masters.h"
#include "train/optimizer.h"
#include "train/sample.h"

namespace fathom {

/// Steps of one batch: a snapshot of the masters, forward, both backwards, gather, norm, AdamW, in profile exact.
class StepBench {
 public:
  /// Weights are drawn, as are the tokens: `sequences` samples that predict `context` tokens each. Throws Error where
  /// the architecture is not known, the vocabulary is empty, or `context` is more than the model has positions;
  /// ResourceError with the numbers where memory does not suffice.
  StepBench(const ModelConfig& config, size_t sequences, size_t context, size_t threads, const Kernels& kernels);

  /// One step. Returns its seconds.
  double run();

  uint64_t parameters() const { return masters_.count(); }
  uint64_t tokens() const { return tokens_; }        ///< of one step
  double operations() const { return operations_; }  ///< of one step, as training_operations counts them
  double loss() const { return loss_; }              ///< of the last step, before its update

 private:
  Masters masters_;
  Optimizer optimizer_;
  std::unique_ptr<Backend> backend_;
  ThreadPool pool_;
  std::vector<Sample> batch_;
  uint64_t tokens_;
  double loss_ = 0;
  double operations_ = 0;
};

/// Seconds of the products of y = x w^T alone.
struct ProductSeconds {
  double forward = 0, input = 0, weight = 0;
};

/// The three products of one linear layer: x [T, K] f32, w [O, K] f32.
class ProductBench {
 public:
  ProductBench(size_t T, size_t K, size_t O, size_t threads, const Kernels& kernels);
  /// Each once.
  ProductSeconds run();
  /// Of each of the three, a multiply-add being two.
  double operations() const { return 2 * static_cast<double>(x_.count()) * static_cast<double>(w_.O()); }

 private:
  double time(const LinearBackward& task);

  std::unique_ptr<Backend> backend_;
  Weight w_;
  Tensor x_, y_, dy_, dx_, dw_;
};

}  // namespace fathom
