#include "autograd/tape.h"

#include <cstring>

namespace fathom {

Tensor& Gradients::of(const Tensor& t) {
  Tensor& g = tensors_[t.bytes()];
  if (!g.defined()) g = zeros(t.dtype(), t.shape());
  check(g.shape() == t.shape(), "a gradient has its tensor's shape");
  return g;
}

Tensor& Gradients::of(const Weight& w) {
  Tensor& g = weights_[&w];
  if (!g.defined()) g = zeros(w.dtype() == DType::kF64 ? DType::kF64 : DType::kF32, {w.O(), w.K()});
  return g;
}

void Tape::backward(const Tensor& y, const Tensor& dy, Gradients& gradients) const {
  Tensor& seed = gradients.of(y);
  check(seed.dtype() == dy.dtype() && seed.shape() == dy.shape(), "the seed has the loss's shape");
  std::memcpy(seed.bytes(), dy.bytes(), dy.size_bytes());
  for (auto step = steps_.rbegin(); step != steps_.rend(); ++step)
    if (gradients.has(step->y)) step->backward(gradients.of(step->y), gradients);
}

}  // namespace fathom
