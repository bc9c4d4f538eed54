#include "kernels/ref/linear.h"

#include <algorithm>
#include <bit>

#include "tensor/dequantize.h"
#include "tensor/float_types.h"

namespace fathom::ref {
namespace {

constexpr size_t kSlice = 256;  // of k: the largest block
constexpr size_t kFp8Block = 128;

size_t rows_of_panel(const WeightView& w, size_t p) { return std::min(kPanelRows, w.O - p * kPanelRows); }

void zero_outputs(float* y, size_t y_stride, const WeightView& w, size_t panel_begin, size_t panel_end, size_t T) {
  const size_t begin = panel_begin * kPanelRows, end = std::min(panel_end * kPanelRows, w.O);
  for (size_t t = 0; t < T; ++t)
    for (size_t o = begin; o < end; ++o) y[t * y_stride + o] = 0;
}

float flush(float x) { return std::fabs(x) < 0x1p-126f ? std::copysign(0.0f, x) : x; }

}  // namespace

void dequantize_panel(float* out, const WeightView& w, size_t p, size_t k_begin, size_t n) {
  const DTypeInfo& type = info(w.dtype);
  const size_t block = type.block_size;
  const std::byte* src = w.data + (p * (w.K / block) + k_begin / block) * group_bytes(w.dtype);
  if (block == 1) {
    if (w.dtype != DType::kF8E4M3) return dequantize(w.dtype, src, out, n * kPanelRows);
    const size_t scale_columns = (w.K + kFp8Block - 1) / kFp8Block;
    const float* scales =
        w.scale_inv + p * kPanelRows / kFp8Block * scale_columns;  // 16 divides 128: one row of scales
    for (size_t i = 0; i < n * kPanelRows; ++i)
      out[i] = f32_from_f8e4m3(static_cast<uint8_t>(src[i])) * scales[(k_begin + i / kPanelRows) / kFp8Block];
    return;
  }
  float row[kSlice];
  std::byte bytes[kSlice];
  for (size_t b = 0; b < n / block; ++b, src += group_bytes(w.dtype))
    for (size_t r = 0; r < kPanelRows; ++r) {
      if (is_packed(w.dtype)) unpack_block(bytes, w.dtype, src, r);
      dequantize(w.dtype, is_packed(w.dtype) ? bytes : src + r * type.block_bytes, row, block);
      for (size_t k = 0; k < block; ++k) out[(b * block + k) * kPanelRows + r] = row[k];
    }
}

void linear_exact(float* y, size_t y_stride, const WeightView& w, size_t panel_begin, size_t panel_end, const float* x,
                  size_t x_stride, size_t T) {
  zero_outputs(y, y_stride, w, panel_begin, panel_end, T);
  float values[kSlice * kPanelRows];
  for (size_t p = panel_begin; p < panel_end; ++p)
    for (size_t k = 0; k < w.K; k += kSlice) {
      const size_t n = std::min(kSlice, w.K - k);
      dequantize_panel(values, w, p, k, n);
      continue_panel(y + p * kPanelRows, y_stride, values, x + k, x_stride, T, n, rows_of_panel(w, p));
    }
}

void linear_backward_input(float* dx, size_t dx_stride, const WeightView& w, size_t k_begin, size_t k_end,
                           const float* dy, size_t dy_stride, size_t T, float* /*scratch*/) {
  float values[kSlice * kPanelRows];
  for (size_t k = k_begin; k < k_end; k += kSlice)
    for (size_t p = 0; p < w.panels(); ++p) {
      const size_t n = std::min(kSlice, k_end - k), rows = rows_of_panel(w, p);
      dequantize_panel(values, w, p, k, n);
      for (size_t t = 0; t < T; ++t)
        for (size_t i = 0; i < n; ++i) {
          float acc = dx[t * dx_stride + k + i];
          for (size_t r = 0; r < rows; ++r)
            acc = std::fma(values[i * kPanelRows + r], dy[t * dy_stride + p * kPanelRows + r], acc);
          dx[t * dx_stride + k + i] = acc;
        }
    }
}

float dot_bf16_pair(float acc, uint16_t a_even, uint16_t a_odd, uint16_t b_even, uint16_t b_odd) {
  const float odd = flush(std::fma(flush(f32_from_bf16(a_odd)), flush(f32_from_bf16(b_odd)), flush(acc)));
  return flush(std::fma(flush(f32_from_bf16(a_even)), flush(f32_from_bf16(b_even)), odd));
}

void linear_bf16(float* y, size_t y_stride, const WeightView& w, size_t panel_begin, size_t panel_end,
                 const uint16_t* x, size_t T) {
  zero_outputs(y, y_stride, w, panel_begin, panel_end, T);
  float values[kSlice * kPanelRows];
  for (size_t p = panel_begin; p < panel_end; ++p)
    for (size_t k0 = 0; k0 < w.K; k0 += kSlice) {
      const size_t n = std::min(kSlice, w.K - k0), rows = rows_of_panel(w, p);
      dequantize_panel(values, w, p, k0, n);
      for (size_t t = 0; t < T; ++t)
        for (size_t r = 0; r < rows; ++r) {
          float acc = y[t * y_stride + p * kPanelRows + r];
          for (size_t k = 0; k < n; k += 2) {
            const bool odd_end = k + 1 == n;
            const uint16_t* xk = x + t * w.K + k0 + k;
            acc = dot_bf16_pair(acc, bf16_from_f32(values[k * kPanelRows + r]),
                                odd_end ? 0 : bf16_from_f32(values[(k + 1) * kPanelRows + r]), xk[0],
                                odd_end ? 0 : xk[1]);
          }
          y[t * y_stride + p * kPanelRows + r] = acc;
        }
    }
}

void linear_backward_input_bf16(float* dx, size_t dx_stride, const WeightView& w, size_t k_begin, size_t k_end,
                                const uint32_t* dy, size_t dy_stride, size_t T, uint32_t* /*scratch*/) {
  float values[kSlice * kPanelRows];
  for (size_t k = k_begin; k < k_end; k += kSlice)
    for (size_t p = 0; p < w.panels(); ++p) {
      const size_t n = std::min(kSlice, k_end - k), rows = rows_of_panel(w, p);
      dequantize_panel(values, w, p, k, n);
      for (size_t t = 0; t < T; ++t)
        for (size_t i = 0; i < n; ++i) {
          const float* column = values + i * kPanelRows;
          float acc = dx[t * dx_stride + k + i];
          for (size_t r = 0; r < rows; r += 2) {
            const uint32_t odd = r + 1 < rows ? bf16_from_f32(column[r + 1]) : 0;
            acc =
                dot_bf16_pair(acc, bf16_from_f32(column[r]) | odd << 16, dy[t * dy_stride + (p * kPanelRows + r) / 2]);
          }
          dx[t * dx_stride + k + i] = acc;
        }
    }
}

void multiply_add_bf16(float* c, size_t c_stride, const uint32_t* a, size_t a_row, size_t a_col, const uint32_t* b,
                       size_t b_stride, size_t M, size_t N, size_t P) {
  for (size_t m = 0; m < M; ++m)
    for (size_t n = 0; n < N; ++n) {
      float acc = c[m * c_stride + n];
      for (size_t p = 0; p < P; ++p) acc = dot_bf16_pair(acc, a[m * a_row + p * a_col], b[p * b_stride + n]);
      c[m * c_stride + n] = acc;
    }
}

}  // namespace fathom::ref
