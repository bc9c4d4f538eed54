// Backward of the ops that have one, as plain loops in float or double. Each adds to its outputs. Order of sums:
// spec/numerics.md 8: parallel over outputs, a weight's gradient is one chain over tokens continued from what is
// stored.
#pragma once
#include <cmath>
#include <cstddef>
#include <cstdint>

#include "kernels/ref/rows.h"

namespace fathom::ref {

/// c[m, n] = chain over k ascending of fma(a[m, k], b[k, n], c[m, n]); a[m, k] = a[m * a_row + k * a_col].
template <class F>
void multiply_add(F* c, size_t c_stride, const F* a, size_t a_row, size_t a_col, const F* b, size_t b_stride, size_t M,
                  size_t N, size_t K) {
  for (size_t m = 0; m < M; ++m)
    for (size_t n = 0; n < N; ++n) {
      F acc = c[m * c_stride + n];
      for (size_t k = 0; k < K; ++k) acc = std::fma(a[m * a_row + k * a_col], b[k * b_stride + n], acc);
      c[m * c_stride + n] = acc;
    }
}

/// dx = (p * (dp - sum)) * scale, sum the row sum of p * dp.
template <class F>
void softmax_backward(F* dx, const F* p, const F* dp, size_t n, F scale) {
  F s[16] = {};
  for (size_t i = 0; i < n; ++i) s[i % 16] = std::fma(p[i], dp[i], s[i % 16]);
  const F sum = fold16(s);
  for (size_t i = 0; i < n; ++i) dx[i] = p[i] * (dp[i] - sum) * scale;
}

/// y = exp(x - shift) * factor.
template <class F>
void exp_scaled(F* y, const F* x, size_t n, F shift, F factor) {
  for (size_t i = 0; i < n; ++i) y[i] = exp(x[i] - shift) * factor;
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

/// y = (x r) w, r = (mean(x^2) + eps)^-1/2: dx[t, i] += r (w[i] dy[t, i] - x[t, i] r^2 mean_j(w[j] dy[t, j] x[t, j])),
/// and r is kept for the weight's gradient.
template <class F>
void rms_norm_backward(F* dx, F* r_of_row, const F* dy, const F* x, const F* w, size_t T, size_t D, F eps) {
  for (size_t t = 0; t < T; ++t, x += D, dx += D, dy += D) {
    F squares[16] = {}, products[16] = {};
    for (size_t i = 0; i < D; ++i) {
      squares[i % 16] = std::fma(x[i], x[i], squares[i % 16]);
      products[i % 16] = std::fma(w[i] * dy[i], x[i], products[i % 16]);
    }
    const F r = F(1) / std::sqrt(fold16(squares) / static_cast<F>(D) + eps);
    const F mean = fold16(products) / static_cast<F>(D);
    r_of_row[t] = r;
    for (size_t i = 0; i < D; ++i) dx[i] += r * (w[i] * dy[i] - x[i] * r * r * mean);
  }
}

/// dw[i] += dy[t, i] x[t, i] r[t], t ascending, i in [begin, end).
template <class F>
void rms_norm_backward_weight(F* dw, const F* r, const F* dy, const F* x, size_t T, size_t D, size_t begin,
                              size_t end) {
  for (size_t t = 0; t < T; ++t)
    for (size_t i = begin; i < end; ++i) dw[i] += dy[t * D + i] * (x[t * D + i] * r[t]);
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
