#include "autograd/tape.h"

#include <cstring>

namespace fathom {

Tensor& Gradients::of(const Tensor& t) {
  OfTensor& entry = tensors_[t.bytes()];
  Tensor& g = entry.gradient;
  if (!g.defined()) entry = {t.owner(), zeros(t.dtype(), t.shape())};
  check(g.shape() == t.shape(), "a gradient has its tensor's shape");
  return g;
}

Tensor& Gradients::of(const Weight& w) {
  Tensor& g = weights_[&w];
  if (!g.defined()) g = zeros(w.dtype() == DType::kF64 ? DType::kF64 : DType::kF32, {w.O(), w.K()});
  return g;
}

void Tape::record(const Tensor& y, Backward backward) {
  steps_.push_back({y, std::move(backward)});
  ++steps_of_[y.bytes()];
}

void Tape::run(Gradients& gradients) {
  for (; !steps_.empty(); steps_.pop_back()) {
    const Step& step = steps_.back();
    if (gradients.has(step.y)) step.backward(gradients.of(step.y), gradients);
    if (--steps_of_[step.y.bytes()] != 0) continue;
    gradients.forget(step.y);
    steps_of_.erase(step.y.bytes());
  }
}

void Tape::backward(const Tensor& y, const Tensor& dy, Gradients& gradients) {
  Tensor& seed = gradients.of(y);
  check(seed.dtype() == dy.dtype() && seed.shape() == dy.shape(), "the seed has the loss's shape");
  std::memcpy(seed.bytes(), dy.bytes(), dy.size_bytes());
  run(gradients);
}

}  // namespace fathom
