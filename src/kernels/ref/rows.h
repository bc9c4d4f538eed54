// Rows and elements: the formulas of spec/numerics.md 2 and 5 as plain loops, in float for the tables (ref/table.cc)
// and in double for finite differences (ops' gradient tests). Pure functions, any thread.
#pragma once
#include <cmath>
#include <cstddef>

#include "kernels/ref/elementary.h"

namespace fathom::ref {

/// The 16 partial sums of a row sum, folded 8, 4, 2, 1.
template <class T>
T fold16(T (&s)[16]) {
  for (size_t step = 8; step >= 1; step /= 2)
    for (size_t j = 0; j < step; ++j) s[j] += s[j + step];
  return s[0];
}

/// sum of x[i], i < n: s[i mod 16] in ascending i from +0, then the fold.
template <class T>
T row_sum(const T* x, size_t n) {
  T s[16] = {};
  for (size_t i = 0; i < n; ++i) s[i % 16] += x[i];
  return fold16(s);
}

/// Maximum of x[i]; -infinity for n = 0. A NaN is passed over (every user of the maximum meets it again in a sum).
template <class T>
T row_max(const T* x, size_t n) {
  T m = static_cast<T>(-INFINITY);
  for (size_t i = 0; i < n; ++i) m = x[i] > m ? x[i] : m;
  return m;
}

/// y = (x * r) * w, r = 1 / sqrt(ss / D + eps), ss the row sum of squares with s = fma(x, x, s).
/// x, y [T, D], w [D]. Source: arXiv:1910.07467.
template <class F>
void rms_norm(F* y, const F* x, const F* w, size_t T, size_t D, F eps) {
  for (size_t t = 0; t < T; ++t, x += D, y += D) {
    F s[16] = {};
    for (size_t i = 0; i < D; ++i) s[i % 16] = std::fma(x[i], x[i], s[i % 16]);
    const F r = F(1) / std::sqrt(fold16(s) / static_cast<F>(D) + eps);
    for (size_t i = 0; i < D; ++i) y[i] = (x[i] * r) * w[i];
  }
}

/// y = a + b.
template <class F>
void add(F* y, const F* a, const F* b, size_t n) {
  for (size_t i = 0; i < n; ++i) y[i] = a[i] + b[i];
}

/// y += scale * x; the product is rounded before it is added.
template <class F>
void add_scaled(F* y, const F* x, F scale, size_t n) {
  for (size_t i = 0; i < n; ++i) y[i] = y[i] + scale * x[i];
}

/// y[t, :] += bias.
template <class F>
void add_bias(F* y, const F* bias, size_t T, size_t D) {
  for (size_t t = 0; t < T; ++t, y += D)
    for (size_t i = 0; i < D; ++i) y[i] = y[i] + bias[i];
}

/// y = g / (1 + exp(-g)) * u. Source: arXiv:2002.05202.
template <class F>
void silu_mul(F* y, const F* gate, const F* up, size_t n) {
  for (size_t i = 0; i < n; ++i) y[i] = gate[i] / (F(1) + exp(-gate[i])) * up[i];
}

/// y = 1 / (1 + exp(-x)).
template <class F>
void sigmoid(F* y, const F* x, size_t n) {
  for (size_t i = 0; i < n; ++i) y[i] = F(1) / (F(1) + exp(-x[i]));
}

/// y = exp(x - m) / row sum of exp(x - m), m the maximum. y may be x.
template <class F>
void softmax(F* y, const F* x, size_t n) {
  const F m = row_max(x, n);
  for (size_t i = 0; i < n; ++i) y[i] = exp(x[i] - m);
  const F sum = row_sum(y, n);
  for (size_t i = 0; i < n; ++i) y[i] = y[i] / sum;
}

/// m + log(row sum of exp(x - m)); -infinity for n = 0.
template <class F>
F log_sum_exp(const F* x, size_t n) {
  if (n == 0) return static_cast<F>(-INFINITY);
  const F m = row_max(x, n);
  F s[16] = {};
  for (size_t i = 0; i < n; ++i) s[i % 16] += exp(x[i] - m);
  return m + log(fold16(s));
}

/// Rotates the 2 * half values at the start of each head in place: pairs (2i, 2i + 1) if interleaved, else (i, i +
/// half). x1' = x1 * c - x2 * s; x2' = x2 * c + x1 * s. Source: arXiv:2104.09864.
template <class F>
void rope(F* x, size_t heads, size_t head_stride, size_t half, const F* cos, const F* sin, bool interleaved) {
  for (size_t h = 0; h < heads; ++h, x += head_stride) {
    for (size_t i = 0; i < half; ++i) {
      F& x1 = interleaved ? x[2 * i] : x[i];
      F& x2 = interleaved ? x[2 * i + 1] : x[i + half];
      const F a = x1, b = x2;
      x1 = a * cos[i] - b * sin[i];
      x2 = b * cos[i] + a * sin[i];
    }
  }
}

/// out[d] = chain over e ascending of fma(gates[e], rows[e, d], acc) from +0. rows [n_experts, D].
template <class F>
void combine_experts(F* out, const F* rows, const F* gates, size_t n_experts, size_t D) {
  for (size_t d = 0; d < D; ++d) {
    F acc = 0;
    for (size_t e = 0; e < n_experts; ++e) acc = std::fma(gates[e], rows[e * D + d], acc);
    out[d] = acc;
  }
}

}  // namespace fathom::ref
