// The tape: ops record how to pass a gradient back, and backward() replays that in reverse. Only training has one
// (Context::tape is null at inference), so inference records and keeps nothing. One thread.
#pragma once
#include <functional>
#include <unordered_map>
#include <vector>

#include "kernels/weight.h"
#include "tensor/tensor.h"

namespace fathom {

/// Gradients by tensor and by weight, zero at first use; backward functions add to them.
class Gradients {
 public:
  /// d loss / d t, of t's type and shape.
  Tensor& of(const Tensor& t);
  /// d loss / d w, row-major [O, K]; f64 for f64 weights, else f32. One buffer per use would be added at the step's
  /// end; uses of the same Weight share one here.
  Tensor& of(const Weight& w);
  bool has(const Tensor& t) const { return tensors_.count(t.bytes()) != 0; }

 private:
  std::unordered_map<const void*, Tensor> tensors_, weights_;
};

class Tape {
 public:
  /// `backward` gets dy and adds to the gradients of the op's inputs. It captures tensors by handle, and weights by
  /// address: their snapshot outlives the step.
  using Backward = std::function<void(const Tensor& dy, Gradients& gradients)>;
  void record(const Tensor& y, Backward backward) { steps_.push_back({y, std::move(backward)}); }
  /// Seeds d loss / d y with dy and runs all steps in reverse. A step whose output has no gradient is skipped.
  void backward(const Tensor& y, const Tensor& dy, Gradients& gradients) const;
  size_t size() const { return steps_.size(); }

 private:
  struct Step {
    Tensor y;
    Backward backward;
  };
  std::vector<Step> steps_;
};

}  // namespace fathom
