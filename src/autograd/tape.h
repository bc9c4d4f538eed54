// The tape: ops record how to pass a gradient back, and run() replays that in reverse. Only training has one
// (Context::tape is null at inference), so inference records and keeps nothing. One thread.
#pragma once
#include <functional>
#include <unordered_map>
#include <vector>

#include "kernels/weight.h"
#include "tensor/tensor.h"

namespace fathom {

/// Gradients by tensor and by weight, zero at first use; backward functions add to them. A tensor that has one is kept
/// alive, so that no later tensor at the same address takes it for its own.
class Gradients {
 public:
  /// d loss / d t, of t's type and shape.
  Tensor& of(const Tensor& t);
  /// d loss / d w, row-major [O, K]; f64 for f64 weights, else f32. A buffer for each Weight: a tensor that a model
  /// uses twice (tied head, MTP) has a Weight for each use, and the buffers are added at the step's end.
  Tensor& of(const Weight& w);
  bool has(const Tensor& t) const { return tensors_.contains(t.bytes()); }
  bool has(const Weight& w) const { return weights_.contains(&w); }
  /// Frees the gradient of a value that nothing reads any more.
  void forget(const Tensor& t) { tensors_.erase(t.bytes()); }

 private:
  struct OfTensor {
    std::shared_ptr<std::byte> owner;
    Tensor gradient;
  };
  std::unordered_map<const void*, OfTensor> tensors_;
  std::unordered_map<const void*, Tensor> weights_;
};

class Tape {
 public:
  /// `backward` gets dy and adds to the gradients of the op's inputs. It captures tensors by handle, and weights by
  /// address: their snapshot outlives the step.
  using Backward = std::function<void(const Tensor& dy, Gradients& gradients)>;
  /// An op that writes a part of y records y too: all steps of one y read the same dy.
  void record(const Tensor& y, Backward backward);
  /// Runs all steps in reverse, each once, and forgets them, the values they keep, and the gradients of their outputs.
  /// A step whose output has no gradient is skipped. Gradients that start it all were set before.
  void run(Gradients& gradients);
  /// Sets d loss / d y to dy and runs.
  void backward(const Tensor& y, const Tensor& dy, Gradients& gradients);
  size_t size() const { return steps_.size(); }

 private:
  struct Step {
    Tensor y;
    Backward backward;
  };
  std::vector<Step> steps_;
  std::unordered_map<const void*, size_t> steps_of_;
};

}  // namespace fathom
