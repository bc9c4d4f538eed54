// Profile int8: quantised activations and integer block sums (spec/numerics.md 3).
#include <algorithm>
#include <bit>
#include <cmath>

#include "kernels/ref/int8_blocks.h"
#include "kernels/ref/linear.h"
#include "kernels/ref/quantize.h"

namespace fathom::ref {
namespace {

/// Continues one output's chain over one block of weights and its n activations.
float continue_chain(float acc, const Int8Block& w, const int8_t* q, size_t n, float dx) {
  int32_t sum = 0, minima = 0;
  for (size_t i = 0; i < n; ++i) {
    sum += w.scale[i / 16] * w.w[i] * q[i];
    minima += w.minimum[i / 16] * q[i];
  }
  const float scale = w.d * dx;
  acc = std::fma(static_cast<float>(sum), scale, acc);
  if (w.sign == 0) return acc;
  const float offset = w.m * dx, total = static_cast<float>(minima);
  return std::fma(w.sign > 0 ? total : -total, offset, acc);
}

}  // namespace

float quantize_block(int8_t* q, const float* x, size_t n) {
  float a = 0;
  bool finite = true;
  for (size_t i = 0; i < n; ++i) {
    const float size = std::fabs(x[i]);
    finite = finite && size < INFINITY;
    a = size > a ? size : a;
  }
  const bool tiny = a < 0x1p-100f;
  const float inverse = finite && !tiny ? 127 / a : 0;
  for (size_t i = 0; i < n; ++i)
    // Adding 1.5 * 2^23 rounds to nearest even, as nearbyint would in the one rounding mode that we use.
    q[i] = inverse == 0 ? int8_t{0} : static_cast<int8_t>((x[i] * inverse + 0x1.8p+23f) - 0x1.8p+23f);
  return !finite ? std::bit_cast<float>(0x7fc00000u) : tiny ? 0 : a / 127;
}

void quantize_rows(const QuantizedRows& out, const float* x, size_t T, size_t K) {
  int8_t* q = out.q;
  float* d = out.d;
  int16_t* sums = out.sums;
  for (size_t t = 0; t < T; ++t)
    for (size_t k = 0; k < K; k += out.block) {
      const size_t n = std::min(out.block, K - k);
      *d++ = quantize_block(q, x, n);
      for (size_t i = 0; i < n; i += 16) {
        int sum = 0;
        for (size_t j = i; j < std::min(i + 16, n); ++j) sum += q[j];
        *sums++ = static_cast<int16_t>(sum);
      }
      x += n, q += n;
    }
}

void linear_int8(float* y, size_t y_stride, const WeightView& w, size_t panel_begin, size_t panel_end,
                 const QuantizedRows& x, size_t T) {
  const size_t block = info(w.dtype).block_size, blocks = w.K / block;
  for (size_t p = panel_begin; p < panel_end; ++p)
    for (size_t r = 0; r < std::min(kPanelRows, w.O - p * kPanelRows); ++r) {
      float* out = y + p * kPanelRows + r;
      for (size_t t = 0; t < T; ++t) out[t * y_stride] = 0;
      for (size_t b = 0; b < blocks; ++b) {
        Int8Block values;
        std::byte source[256];
        unpack_block(source, w.dtype, w.data + (p * blocks + b) * group_bytes(w.dtype), r);
        read_int8_block(values, w.dtype, reinterpret_cast<const uint8_t*>(source));
        for (size_t t = 0; t < T; ++t)
          out[t * y_stride] =
              continue_chain(out[t * y_stride], values, x.q + t * w.K + b * block, block, x.d[t * blocks + b]);
      }
    }
}

}  // namespace fathom::ref
