// The training kernels for any S with sixteen f32 lanes: products whose chains continue from what is stored, lanes over
// outputs. S is private to the including file, so these templates are too. Pure functions, any thread.
#pragma once
#include "kernels/cpu/simd_linear.h"

namespace fathom::simd {

template <class S>
struct Products {
  using V = typename S::V;

  static void multiply_add(float* c, size_t c_stride, const float* a, size_t a_row, size_t a_col, const float* b,
                           size_t b_stride, size_t M, size_t N, size_t K) {
    alignas(64) float panel[kSliceValues * 16];
    for (size_t n = 0; n < N; n += 16) {
      const size_t lanes = N - n < 16 ? N - n : 16;
      for (size_t k = 0; k < K; k += kSliceValues) {
        const size_t count = K - k < kSliceValues ? K - k : kSliceValues;
        for (size_t i = 0; i < count; ++i) {
          const float* row = b + (k + i) * b_stride + n;
          S::store(panel + i * 16, lanes == 16 ? S::load(row) : S::load_n(row, lanes));
        }
        if (a_col == 1)
          tiles<false>(c + n, c_stride, a + k, a_row, panel, M, lanes, count);
        else
          tiles<true>(c + n, c_stride, a + k * a_col, a_col, panel, M, lanes, count);
      }
    }
  }

  static void linear_backward_input(float* dx, size_t dx_stride, const WeightView& w, size_t k_begin, size_t k_end,
                                    const float* dy, size_t dy_stride, size_t T, float* scratch) {
    alignas(64) float buffer[kSliceValues * kPanelRows];
    for (size_t k = k_begin; k < k_end; k += kBackwardSlice) {
      const size_t n = k_end - k < kBackwardSlice ? k_end - k : kBackwardSlice;
      for (size_t o = 0; o < w.O; o += kBackwardSlice) {
        const size_t outputs = w.O - o < kBackwardSlice ? w.O - o : kBackwardSlice;
        for (size_t p = 0; p * kPanelRows < outputs; ++p)
          transpose(scratch + p * kPanelRows * 16, Linear<S>::slice(buffer, w, o / kPanelRows + p, k, n), n);
        for (size_t c = 0; c < n; c += 16) {
          const size_t lanes = n - c < 16 ? n - c : 16;
          tiles<false>(dx + k + c, dx_stride, dy + o, dy_stride, scratch + c * kBackwardSlice, T, lanes, outputs);
        }
      }
    }
  }

 private:
  /// values [n][16 outputs] to panels of sixteen k each, kBackwardSlice outputs apart: out[k / 16][output][k % 16].
  static void transpose(float* out, const float* values, size_t n) {
    for (size_t c = 0; c < n; c += 16) {
      float* panel = out + c * kBackwardSlice;
      const size_t lanes = n - c < 16 ? n - c : 16;
      for (size_t r = 0; r < kPanelRows; ++r)
        for (size_t j = 0; j < 16; ++j) panel[r * 16 + j] = j < lanes ? values[(c + j) * kPanelRows + r] : 0.0f;
    }
  }

  /// c[m, :lanes] continues over `count` values of k. along_m: a[m, k] = a[m + k * a_stride], else a[m * a_stride + k].
  template <bool along_m>
  static void tiles(float* c, size_t c_stride, const float* a, size_t a_stride, const float* panel, size_t M,
                    size_t lanes, size_t count) {
    for_tiles<S::kLinearRows>(
        M, [&]<int R>(size_t m) __attribute__((always_inline)) {
          tile<R, along_m>(c + m * c_stride, c_stride, along_m ? a + m : a + m * a_stride, a_stride, panel, lanes,
                           count);
        });
  }

  template <int R, bool along_m>
  [[gnu::always_inline]] static inline void tile(float* c, size_t c_stride, const float* a, size_t a_stride,
                                                 const float* panel, size_t lanes, size_t count) {
    V acc[R];
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      const float* row = c + static_cast<size_t>(r) * c_stride;
      acc[r] = lanes == 16 ? S::load(row) : S::load_n(row, lanes);
    }
    for (size_t k = 0; k < count; ++k) {
      const V b = S::load(panel + k * 16);
#pragma GCC unroll 16
      for (int r = 0; r < R; ++r) {
        const auto row = static_cast<size_t>(r);
        acc[r] = S::fma(S::set1(along_m ? a[k * a_stride + row] : a[row * a_stride + k]), b, acc[r]);
      }
    }
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      float* row = c + static_cast<size_t>(r) * c_stride;
      lanes == 16 ? S::store(row, acc[r]) : S::store_n(row, acc[r], lanes);
    }
  }
};

}  // namespace fathom::simd
