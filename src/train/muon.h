// Muon: momentum whose matrix is made nearly orthogonal before it is taken as a step, for hidden matrices.
// Called by optimizer.cc. Pure functions over what they are given; one thread calls, the pool and the product split the
// work. Source: Keller Jordan, "Muon: an optimizer for hidden layers" (2024); scale of the step: arXiv:2502.16982.
#pragma once
#include <cstddef>
#include <span>
#include <vector>

#include "base/function_ref.h"
#include "base/thread_pool.h"

namespace fathom {

/// c[m * c_stride + n] = the chain over k ascending of fma(a[m * a_row + k * a_col], b[k * b_stride + n], c), continued
/// from what c holds, for m < M, n < N, k < K.
using MultiplyAdd = FunctionRef<void(float* c, size_t c_stride, const float* a, size_t a_row, size_t a_col,
                                     const float* b, size_t b_stride, size_t M, size_t N, size_t K)>;

struct MuonStep {
  float momentum = 0.95F;
  float scale = 1;  ///< of the gradient: the clip factor
  float decay = 1;  ///< 1 - learning rate * weight decay
  float rate = 0;   ///< learning rate * 0.2 sqrt(max(rows, columns))
};

/// The nearest orthogonal matrix, roughly: x = g / (|g| + 1e-7), then five times
///   x = a x + (b s + c s s) x with s = x x^T of the smaller side and (a, b, c) = (3.4445, -4.7750, 2.0315),
/// which moves all singular values into about [0.7, 1.2]. Row-major [rows, columns]; |g| is the Frobenius norm (its
/// squares summed in double). Order in f32: everything is computed for the tall one of g and g^T, y [L, S], L >= S:
///   s = y^T y and t = s s as chains over k from 0;  p = b s + c t;  y' = the chain over k of y p continued from a y.
std::vector<float> newton_schulz(std::span<const float> g, size_t rows, size_t columns, ThreadPool& pool,
                                 MultiplyAdd multiply_add);

/// One step of a matrix [rows, columns], each line over all its values, in f32 from left to right:
///   g = gradient * scale;  m = momentum * m + g;  o = newton_schulz(g + momentum * m)   (Nesterov)
///   p = p * decay;  p = p - rate * o
void muon_update(std::span<float> p, std::span<const float> gradient, std::span<float> m, size_t rows, size_t columns,
                 const MuonStep& step, ThreadPool& pool, MultiplyAdd multiply_add);

}  // namespace fathom
