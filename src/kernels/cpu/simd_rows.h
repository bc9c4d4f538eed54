// Rows and elements for any S with sixteen f32 lanes (simd_avx2.h, simd_avx512.h): the formulas of kernels/ref/rows.h,
// lanes over elements, and over the sixteen partial sums of a row. S is private to the including file, so these
// templates are too. Called through the tables; pure functions, any thread.
#pragma once
#include <cstddef>
#include <cstdint>

#include "kernels/kernels.h"
#include "kernels/ref/scalar.h"

namespace fathom::simd {

template <class S>
struct Rows {
  using V = typename S::V;

  /// y[i] = f(vectors of the inputs at i); tails are masked.
  template <class F>
  [[gnu::always_inline]] static inline void map1(float* y, const float* a, size_t n, const F& f) {
    size_t i = 0;
    for (; i + 16 <= n; i += 16) S::store(y + i, f(S::load(a + i)));
    if (i < n) S::store_n(y + i, f(S::load_n(a + i, n - i)), n - i);
  }
  template <class F>
  [[gnu::always_inline]] static inline void map2(float* y, const float* a, const float* b, size_t n, const F& f) {
    size_t i = 0;
    for (; i + 16 <= n; i += 16) S::store(y + i, f(S::load(a + i), S::load(b + i)));
    if (i < n) S::store_n(y + i, f(S::load_n(a + i, n - i), S::load_n(b + i, n - i)), n - i);
  }

  static void rms_norm(float* y, const float* x, const float* w, size_t T, size_t D, float eps) {
    for (size_t t = 0; t < T; ++t, x += D, y += D) {
      V s = S::zero();
      size_t i = 0;
      for (; i + 16 <= D; i += 16) s = S::fma(S::load(x + i), S::load(x + i), s);
      if (i < D) s = S::fma(S::load_n(x + i, D - i), S::load_n(x + i, D - i), s);
      const V r = S::set1(1.0f / S::sqrt1(S::fold(s) / static_cast<float>(D) + eps));
      map2(y, x, w, D, [&](V a, V b) { return S::mul(S::mul(a, r), b); });
    }
  }

  static void add(float* y, const float* a, const float* b, size_t n) {
    map2(y, a, b, n, [](V u, V v) { return S::add(u, v); });
  }

  static void add_bias(float* y, const float* bias, size_t T, size_t D) {
    for (size_t t = 0; t < T; ++t, y += D) add(y, y, bias, D);
  }

  static void silu_mul(float* y, const float* gate, const float* up, size_t n) {
    const V one = S::set1(1.0f);
    map2(y, gate, up, n, [&](V g, V u) { return S::mul(S::div(g, S::add(one, S::exp(S::negate(g)))), u); });
  }

  static void sigmoid(float* y, const float* x, size_t n) {
    const V one = S::set1(1.0f);
    map1(y, x, n, [&](V v) { return S::div(one, S::add(one, S::exp(S::negate(v)))); });
  }

  static float row_max(const float* x, size_t n) {
    const V lowest = S::set1(-__builtin_inff());
    V m = lowest;
    size_t i = 0;
    for (; i + 16 <= n; i += 16) m = S::max(S::load(x + i), m);
    if (i < n) m = S::max(S::select_n(n - i, S::load_n(x + i, n - i), lowest), m);
    return S::fold_max(m);
  }

  /// Row sum of exp(x - m); the terms are stored to y unless it is null. y may be x.
  static float exp_sum(float* y, const float* x, size_t n, float m) {
    const V maximum = S::set1(m);
    V s = S::zero();
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
      const V p = S::exp(S::sub(S::load(x + i), maximum));
      if (y) S::store(y + i, p);
      s = S::add(s, p);
    }
    if (i < n) {
      const V p = S::exp(S::sub(S::load_n(x + i, n - i), maximum));
      if (y) S::store_n(y + i, p, n - i);
      s = S::add(s, S::select_n(n - i, p, S::zero()));
    }
    return S::fold(s);
  }

  static void softmax(float* y, const float* x, size_t n) {
    const V sum = S::set1(exp_sum(y, x, n, row_max(x, n)));
    map1(y, y, n, [&](V p) { return S::div(p, sum); });
  }

  static float log_sum_exp(const float* x, size_t n) {
    if (n == 0) return -__builtin_inff();
    const float m = row_max(x, n);
    return m + ref::log_f32(exp_sum(nullptr, x, n, m));
  }

  static void combine_experts(float* out, const float* rows, const float* gates, size_t n_experts, size_t D) {
    for (size_t d = 0; d < D; d += 16) {
      const size_t n = D - d < 16 ? D - d : 16;
      V acc = S::zero();
      for (size_t e = 0; e < n_experts; ++e) acc = S::fma(S::set1(gates[e]), S::load_n(rows + e * D + d, n), acc);
      S::store_n(out + d, acc, n);
    }
  }

  static void rope(float* x, size_t heads, size_t head_stride, size_t half, const float* cosines, const float* sines,
                   bool interleaved) {
    for (size_t h = 0; h < heads; ++h, x += head_stride)
      interleaved ? rotate_neighbours(x, half, cosines, sines) : rotate_halves(x, half, cosines, sines);
  }

  static void quantize_rows(const QuantizedRows& out, const float* x, size_t T, size_t K) {
    int8_t* q = out.q;
    float* d = out.d;
    int16_t* sums = out.sums;
    for (size_t t = 0; t < T; ++t)
      for (size_t k = 0; k < K; k += out.block) {
        const size_t n = K - k < out.block ? K - k : out.block;
        *d++ = quantize_block(q, sums, x, n);
        x += n, q += n, sums += n / 16;
      }
  }

  static void round_bf16(uint16_t* out, const float* x, size_t n) {
    size_t i = 0;
    for (; i + 16 <= n; i += 16) S::store_bf16(out + i, S::load(x + i));
    ref::round_bf16(out + i, x + i, n - i);
  }

 private:
  /// n is a multiple of 16. Returns dx.
  static float quantize_block(int8_t* q, int16_t* sums, const float* x, size_t n) {
    V size = S::zero();
    for (size_t i = 0; i < n; i += 16) size = S::max_magnitude(size, S::load(x + i));
    const uint32_t bits = S::fold_magnitude(size);
    float a;
    __builtin_memcpy(&a, &bits, 4);
    const bool finite = bits < 0x7f800000u;
    if (!finite || a < 0x1p-100f) {
      __builtin_memset(q, 0, n);
      __builtin_memset(sums, 0, n / 16 * sizeof(int16_t));
      return finite ? 0.0f : __builtin_nanf("");
    }
    const V inverse = S::set1(127 / a);
    for (size_t i = 0; i < n; i += 16)
      sums[i / 16] = static_cast<int16_t>(S::store_int8(q + i, S::mul(S::load(x + i), inverse)));
    return a / 127;
  }

  static void rotate_halves(float* x, size_t half, const float* cosines, const float* sines) {
    for (size_t i = 0; i < half; i += 16) {
      const size_t n = half - i < 16 ? half - i : 16;
      const V c = S::load_n(cosines + i, n), s = S::load_n(sines + i, n);
      const V a = S::load_n(x + i, n), b = S::load_n(x + i + half, n);
      S::store_n(x + i, S::sub(S::mul(a, c), S::mul(b, s)), n);
      S::store_n(x + i + half, S::add(S::mul(b, c), S::mul(a, s)), n);
    }
  }

  static void rotate_neighbours(float* x, size_t half, const float* cosines, const float* sines) {
    for (size_t i = 0; i < half; ++i) {
      const float a = x[2 * i], b = x[2 * i + 1];
      x[2 * i] = a * cosines[i] - b * sines[i];
      x[2 * i + 1] = b * cosines[i] + a * sines[i];
    }
  }
};

}  // namespace fathom::simd
