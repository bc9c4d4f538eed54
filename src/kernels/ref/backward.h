// Backward of the ops that have one, as plain loops in float or double. Each adds to its outputs. Order of sums:
// spec/numerics.md 8: parallel over outputs, a weight's gradient is one chain over tokens continued from what is
// stored.
#pragma once
#include <cmath>
#include <cstddef>
#include <cstdint>

#include "kernels/ref/rows.h"

namespace fathom::ref {

/// dx[t, k] += chain over o ascending of w[o, k] dy[t, o]; w row-major [O, K].
template <class F>
void linear_backward_input(F* dx, const F* w, const F* dy, size_t T, size_t K, size_t O) {
  for (size_t t = 0; t < T; ++t)
    for (size_t k = 0; k < K; ++k) {
      F acc = 0;
      for (size_t o = 0; o < O; ++o) acc = std::fma(w[o * K + k], dy[t * O + o], acc);
      dx[t * K + k] += acc;
    }
}

/// dw[o, k] = chain over t ascending of fma(dy[t, o], x[t, k], dw[o, k]), for the rows o in [o_begin, o_end).
template <class F>
void linear_backward_weight(F* dw, const F* dy, const F* x, size_t T, size_t K, size_t O, size_t o_begin,
                            size_t o_end) {
  for (size_t t = 0; t < T; ++t)
    for (size_t o = o_begin; o < o_end; ++o)
      for (size_t k = 0; k < K; ++k) dw[o * K + k] = std::fma(dy[t * O + o], x[t * K + k], dw[o * K + k]);
}

/// dbias[o] += dy[t, o], t ascending.
template <class F>
void add_bias_backward(F* dbias, const F* dy, size_t T, size_t O) {
  for (size_t t = 0; t < T; ++t)
    for (size_t o = 0; o < O; ++o) dbias[o] += dy[t * O + o];
}

/// dtable[ids[t], :] += dy[t, :], t ascending.
template <class F>
void embed_backward(F* dtable, const F* dy, const int32_t* ids, size_t T, size_t D) {
  for (size_t t = 0; t < T; ++t)
    for (size_t i = 0; i < D; ++i) dtable[static_cast<size_t>(ids[t]) * D + i] += dy[t * D + i];
}

/// y = (x r) w, r = (mean(x^2) + eps)^-1/2:
///   dw[i] += dy[t, i] x[t, i] r;   dx[t, i] += r (w[i] dy[t, i] - x[t, i] r^2 mean_j(w[j] dy[t, j] x[t, j])).
template <class F>
void rms_norm_backward(F* dx, F* dw, const F* dy, const F* x, const F* w, size_t T, size_t D, F eps) {
  for (size_t t = 0; t < T; ++t, x += D, dx += D, dy += D) {
    F squares[16] = {}, products[16] = {};
    for (size_t i = 0; i < D; ++i) {
      squares[i % 16] = std::fma(x[i], x[i], squares[i % 16]);
      products[i % 16] = std::fma(w[i] * dy[i], x[i], products[i % 16]);
    }
    const F r = F(1) / std::sqrt(fold16(squares) / static_cast<F>(D) + eps);
    const F mean = fold16(products) / static_cast<F>(D);
    for (size_t i = 0; i < D; ++i) {
      dx[i] += r * (w[i] * dy[i] - x[i] * r * r * mean);
      dw[i] += dy[i] * (x[i] * r);
    }
  }
}

/// y = silu(g) u, s = 1 / (1 + exp(-g)): dg += dy u s (1 + g (1 - s)); du += dy g s.
template <class F>
void silu_mul_backward(F* dgate, F* dup, const F* dy, const F* gate, const F* up, size_t n) {
  for (size_t i = 0; i < n; ++i) {
    const F s = F(1) / (F(1) + exp(-gate[i]));
    dgate[i] += dy[i] * up[i] * s * (F(1) + gate[i] * (F(1) - s));
    dup[i] += dy[i] * (gate[i] * s);
  }
}

}  // namespace fathom::ref
