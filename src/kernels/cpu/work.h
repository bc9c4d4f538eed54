// What the parts of the CPU backend compute with.
#pragma once
#include <algorithm>

#include "base/thread_pool.h"
#include "kernels/kernels.h"
#include "tensor/tensor.h"

namespace fathom {

/// How many pieces of at most `piece` make n.
constexpr size_t pieces(size_t n, size_t piece) { return (n + piece - 1) / piece; }

/// The pool and the kernels that a backend computes with.
struct CpuWork {
  ThreadPool& pool;
  const Kernels& k;

  /// Calls f(begin, count) on pieces of `n` rows of `width` values, some 16k values a piece.
  template <class F>
  void rows(size_t n, size_t width, F&& f) const {
    const size_t piece = std::max<size_t>(1, 16384 / std::max<size_t>(width, 1));
    pool.run(pieces(n, piece), [&](size_t i) { f(i * piece, std::min(piece, n - i * piece)); });
  }
};

/// Scratch of the calling thread; grows to the largest need and stays.
float* thread_scratch(size_t floats);

/// Calls f with the element type of t as a value: training and inference run in float, finite differences in double.
template <class F>
void with_type(const Tensor& t, F&& f) {
  if (t.dtype() == DType::kF64)
    f(double{});
  else
    f(float{});
}

}  // namespace fathom
