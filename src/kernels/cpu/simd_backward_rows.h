// The training kernels of rows and elements for any S with sixteen f32 lanes: the formulas of kernels/ref/backward.h.
// S is private to the including file, so these templates are too. Pure functions, any thread.
#pragma once
#include <cstddef>

#include "kernels/kernels.h"

namespace fathom::simd {

template <class S>
struct BackwardRows {
  using V = typename S::V;

  /// f(i, lanes) for vectors at 0, 16, ..., the last one of fewer lanes.
  template <class F>
  [[gnu::always_inline]] static inline void for_vectors(size_t n, const F& f) {
    for (size_t i = 0; i < n; i += 16) f(i, n - i < 16 ? n - i : 16);
  }

  static void softmax_backward(float* dx, const float* p, const float* dp, size_t n, float scale) {
    V s = S::zero();
    for_vectors(
        n, [&](size_t i, size_t lanes)
               __attribute__((always_inline)) { s = S::fma(S::load_n(p + i, lanes), S::load_n(dp + i, lanes), s); });
    const V sum = S::set1(S::fold(s)), factor = S::set1(scale);
    for_vectors(
        n, [&](size_t i, size_t lanes) __attribute__((always_inline)) {
          const V d = S::sub(S::load_n(dp + i, lanes), sum);
          S::store_n(dx + i, S::mul(S::mul(S::load_n(p + i, lanes), d), factor), lanes);
        });
  }

  static void rms_norm_backward(float* dx, float* r_of_row, const float* dy, const float* x, const float* w, size_t T,
                                size_t D, float eps) {
    for (size_t t = 0; t < T; ++t, x += D, dx += D, dy += D) {
      V squares = S::zero(), products = S::zero();
      for_vectors(
          D, [&](size_t i, size_t lanes) __attribute__((always_inline)) {
            const V v = S::load_n(x + i, lanes);
            squares = S::fma(v, v, squares);
            products = S::fma(S::mul(S::load_n(w + i, lanes), S::load_n(dy + i, lanes)), v, products);
          });
      const float scale = 1.0f / S::sqrt1(S::fold(squares) / static_cast<float>(D) + eps);
      const V r = S::set1(scale), mean = S::set1(S::fold(products) / static_cast<float>(D));
      r_of_row[t] = scale;
      for_vectors(
          D, [&](size_t i, size_t lanes) __attribute__((always_inline)) {
            const V wdy = S::mul(S::load_n(w + i, lanes), S::load_n(dy + i, lanes));
            const V along = S::mul(S::mul(S::mul(S::load_n(x + i, lanes), r), r), mean);
            S::store_n(dx + i, S::add(S::load_n(dx + i, lanes), S::mul(r, S::sub(wdy, along))), lanes);
          });
    }
  }

  static void rms_norm_backward_weight(float* dw, const float* r, const float* dy, const float* x, size_t T, size_t D,
                                       size_t begin, size_t end) {
    for_vectors(
        end - begin, [&](size_t i, size_t lanes) __attribute__((always_inline)) {
          const size_t column = begin + i;
          V acc = S::load_n(dw + column, lanes);
          for (size_t t = 0; t < T; ++t) {
            const V normed = S::mul(S::load_n(x + t * D + column, lanes), S::set1(r[t]));
            acc = S::add(acc, S::mul(S::load_n(dy + t * D + column, lanes), normed));
          }
          S::store_n(dw + column, acc, lanes);
        });
  }

  static void silu_mul_backward(float* dgate, float* dup, const float* dy, const float* gate, const float* up,
                                size_t n) {
    const V one = S::set1(1.0f);
    for_vectors(
        n, [&](size_t i, size_t lanes) __attribute__((always_inline)) {
          const V g = S::load_n(gate + i, lanes), d = S::load_n(dy + i, lanes);
          const V s = S::div(one, S::add(one, S::exp(S::negate(g))));
          const V slope = S::add(one, S::mul(g, S::sub(one, s)));
          const V dg = S::mul(S::mul(S::mul(d, S::load_n(up + i, lanes)), s), slope);
          S::store_n(dgate + i, S::add(S::load_n(dgate + i, lanes), dg), lanes);
          S::store_n(dup + i, S::add(S::load_n(dup + i, lanes), S::mul(d, S::mul(g, s))), lanes);
        });
  }

  static void exp_scaled(float* y, const float* x, size_t n, float shift, float factor) {
    const V m = S::set1(shift), f = S::set1(factor);
    for_vectors(
        n, [&](size_t i, size_t lanes) __attribute__((always_inline)) {
          S::store_n(y + i, S::mul(S::exp(S::sub(S::load_n(x + i, lanes), m)), f), lanes);
        });
  }
};

}  // namespace fathom::simd
