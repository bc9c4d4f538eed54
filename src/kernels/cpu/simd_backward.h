// The training kernels for any S with sixteen f32 lanes: products whose chains continue from what is stored, lanes over
// outputs. S is private to the including file, so these templates are too. Pure functions, any thread.
#pragma once
#include "kernels/cpu/simd_linear.h"

namespace fathom::simd {

/// What is multiplied, a dword each, and how a weight's slice becomes it: here f32 values, each one step of a chain.
template <class S>
struct Floats {
  using Value = float;
  using V = typename S::V;
  static constexpr size_t kPerStep = 1;  // values of k

  [[gnu::always_inline]] static inline V broadcast(float a) { return S::set1(a); }
  [[gnu::always_inline]] static inline V load(const float* b) { return S::load(b); }
  [[gnu::always_inline]] static inline V load_n(const float* b, size_t n) { return S::load_n(b, n); }
  [[gnu::always_inline]] static inline void store(float* b, V v) { S::store(b, v); }
  [[gnu::always_inline]] static inline V step(V acc, V a, V b) { return S::fma(a, b, acc); }
  /// Values [k, k + n) of panel p by outputs: [n][16].
  static const float* slice(float* buffer, const WeightView& w, size_t p, size_t k, size_t n) {
    return Linear<S>::slice(buffer, w, p, k, n);
  }
};

template <class S, class Operand = Floats<S>>
struct Products {
  using Value = typename Operand::Value;

  static void multiply_add(float* c, size_t c_stride, const Value* a, size_t a_row, size_t a_col, const Value* b,
                           size_t b_stride, size_t M, size_t N, size_t steps) {
    alignas(64) Value panel[kSliceValues * 16];
    for (size_t n = 0; n < N; n += 16) {
      const size_t lanes = N - n < 16 ? N - n : 16;
      for (size_t k = 0; k < steps; k += kSliceValues) {
        const size_t count = steps - k < kSliceValues ? steps - k : kSliceValues;
        for (size_t i = 0; i < count; ++i) {
          const Value* row = b + (k + i) * b_stride + n;
          Operand::store(panel + i * 16, lanes == 16 ? Operand::load(row) : Operand::load_n(row, lanes));
        }
        if (a_col == 1)
          tiles<false>(c + n, c_stride, a + k, a_row, panel, M, lanes, count);
        else
          tiles<true>(c + n, c_stride, a + k * a_col, a_col, panel, M, lanes, count);
      }
    }
  }

  static void linear_backward_input(float* dx, size_t dx_stride, const WeightView& w, size_t k_begin, size_t k_end,
                                    const Value* dy, size_t dy_stride, size_t T, Value* scratch) {
    alignas(64) Value buffer[kSliceValues * kPanelSteps];
    for (size_t k = k_begin; k < k_end; k += kBackwardSlice) {
      const size_t n = k_end - k < kBackwardSlice ? k_end - k : kBackwardSlice;
      for (size_t o = 0; o < w.O; o += kBackwardSlice) {
        const size_t outputs = w.O - o < kBackwardSlice ? w.O - o : kBackwardSlice;
        for (size_t p = 0; p * kPanelRows < outputs; ++p)
          transpose(scratch + p * kPanelSteps * 16, Operand::slice(buffer, w, o / kPanelRows + p, k, n), n);
        const size_t steps = (outputs + Operand::kPerStep - 1) / Operand::kPerStep;
        for (size_t t = 0; t < T; t += kRowsAtOnce)
          for (size_t c = 0; c < n; c += 16) {
            const size_t rows = T - t < kRowsAtOnce ? T - t : kRowsAtOnce, lanes = n - c < 16 ? n - c : 16;
            tiles<false>(dx + t * dx_stride + k + c, dx_stride, dy + t * dy_stride + o / Operand::kPerStep, dy_stride,
                         scratch + c * kSliceSteps, rows, lanes, steps);
          }
      }
    }
  }

 private:
  static constexpr size_t kPanelSteps = kPanelRows / Operand::kPerStep,
                          kSliceSteps = kBackwardSlice / Operand::kPerStep;

  /// values [n][steps of sixteen outputs] to panels of sixteen k each, a slice's steps apart: out[k / 16][step][k %
  /// 16].
  static void transpose(Value* out, const Value* values, size_t n) {
    for (size_t c = 0; c < n; c += 16) {
      Value* panel = out + c * kSliceSteps;
      const size_t lanes = n - c < 16 ? n - c : 16;
      for (size_t r = 0; r < kPanelSteps; ++r)
        for (size_t j = 0; j < 16; ++j) panel[r * 16 + j] = j < lanes ? values[(c + j) * kPanelSteps + r] : Value{};
    }
  }

  /// c[m, :lanes] continues over `count` steps. along_m: a[m, k] = a[m + k * a_stride], else a[m * a_stride + k].
  template <bool along_m>
  static void tiles(float* c, size_t c_stride, const Value* a, size_t a_stride, const Value* panel, size_t M,
                    size_t lanes, size_t count) {
    for_tiles<S::kLinearRows>(
        M, [&]<int R>(size_t m) __attribute__((always_inline)) {
          tile<R, along_m>(c + m * c_stride, c_stride, along_m ? a + m : a + m * a_stride, a_stride, panel, lanes,
                           count);
        });
  }

  template <int R, bool along_m>
  [[gnu::always_inline]] static inline void tile(float* c, size_t c_stride, const Value* a, size_t a_stride,
                                                 const Value* panel, size_t lanes, size_t count) {
    typename S::V acc[R];
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      const float* row = c + static_cast<size_t>(r) * c_stride;
      acc[r] = lanes == 16 ? S::load(row) : S::load_n(row, lanes);
    }
    for (size_t k = 0; k < count; ++k) {
      const auto b = Operand::load(panel + k * 16);
#pragma GCC unroll 16
      for (int r = 0; r < R; ++r) {
        const auto row = static_cast<size_t>(r);
        acc[r] = Operand::step(acc[r], Operand::broadcast(along_m ? a[k * a_stride + row] : a[row * a_stride + k]), b);
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
