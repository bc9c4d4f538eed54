// Products of kernels/ref: outputs are chains over k (spec/numerics.md 2 to 4). The loop over panels of plain numbers
// is a template, in double for finite differences; linear_exact, linear_int8 and linear_bf16 are the table's entries.
#pragma once
#include <cmath>
#include <cstddef>

#include "kernels/kernels.h"
#include "kernels/ref/scalar.h"

namespace fathom::ref {

/// Continues the chains of one panel over k < K: y[t, r] = fma(w[k][r], x[t, k], y[t, r]), r < rows.
template <class F>
void continue_panel(F* y, size_t y_stride, const F* panel, const F* x, size_t x_stride, size_t T, size_t K,
                    size_t rows) {
  for (size_t t = 0; t < T; ++t)
    for (size_t r = 0; r < rows; ++r) {
      F acc = y[t * y_stride + r];
      for (size_t k = 0; k < K; ++k) acc = std::fma(panel[k * kPanelRows + r], x[t * x_stride + k], acc);
      y[t * y_stride + r] = acc;
    }
}

/// y[t, o] = one chain over k of panels[o / 16][k][o % 16] * x[t, k]; y [T, O], x [T, K].
template <class F>
void linear(F* y, const F* panels, const F* x, size_t T, size_t K, size_t O) {
  for (size_t i = 0; i < T * O; ++i) y[i] = 0;
  for (size_t o = 0; o < O; o += kPanelRows)
    continue_panel(y + o, O, panels + o * K, x, K, T, K, O - o < kPanelRows ? O - o : kPanelRows);
}

/// Values [k_begin, k_begin + n) of the 16 rows of panel p as f32 [n][16]. k_begin and n are multiples of the block
/// size.
void dequantize_panel(float* out, const WeightView& w, size_t p, size_t k_begin, size_t n);

void linear_exact(float* y, size_t y_stride, const WeightView& w, size_t panel_begin, size_t panel_end, const float* x,
                  size_t x_stride, size_t T);
void linear_int8(float* y, size_t y_stride, const WeightView& w, size_t panel_begin, size_t panel_end,
                 const QuantizedRows& x, size_t T);
void linear_bf16(float* y, size_t y_stride, const WeightView& w, size_t panel_begin, size_t panel_end,
                 const uint16_t* x, size_t T);

/// The table's entries of these names (kernels.h).
void linear_backward_input(float* dx, size_t dx_stride, const WeightView& w, size_t k_begin, size_t k_end,
                           const float* dy, size_t dy_stride, size_t T, float* scratch);
void linear_backward_input_bf16(float* dx, size_t dx_stride, const WeightView& w, size_t k_begin, size_t k_end,
                                const uint32_t* dy, size_t dy_stride, size_t T, uint32_t* scratch);
void multiply_add_bf16(float* c, size_t c_stride, const uint32_t* a, size_t a_row, size_t a_col, const uint32_t* b,
                       size_t b_stride, size_t M, size_t N, size_t P);

/// One step of vdpbf16ps: the odd product is added first, then the even one, each a fused multiply-add rounded to
/// nearest even, subnormal inputs and results flushed to zeros of their sign. a and b hold the pair (even, odd).
float dot_bf16_pair(float acc, uint16_t a_even, uint16_t a_odd, uint16_t b_even, uint16_t b_odd);
/// The same of pairs in dwords, the even value in the low half.
inline float dot_bf16_pair(float acc, uint32_t a, uint32_t b) {
  const auto low = [](uint32_t pair) { return static_cast<uint16_t>(pair); };
  return dot_bf16_pair(acc, low(a), low(a >> 16), low(b), low(b >> 16));
}

}  // namespace fathom::ref
