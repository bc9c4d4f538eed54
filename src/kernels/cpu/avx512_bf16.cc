// linear_bf16 with vdpbf16ps (spec/numerics.md 4): lanes over the 16 rows of a panel, each dword a pair of k.
#include "kernels/cpu/avx512.h"
#include "kernels/cpu/simd_avx512.h"
#include "kernels/cpu/simd_linear.h"
#include "kernels/cpu/simd_unpack.h"

namespace fathom::avx512 {
namespace {

constexpr int kRows = 12;

/// One slice of a panel as pairs: [n / 2][16] dwords, the even k in the low half; an odd end is padded with 0.
void pair_up(uint32_t* pairs, const float* values, size_t n) {
  for (size_t k = 0; k < n; k += 2) {
    const __m512i even = Simd::bf16_bits(Simd::load(values + k * kPanelRows));
    const __m512i odd = k + 1 < n ? Simd::bf16_bits(Simd::load(values + (k + 1) * kPanelRows)) : _mm512_setzero_si512();
    _mm512_store_si512(pairs + k / 2 * kPanelRows, _mm512_or_si512(even, _mm512_slli_epi32(odd, 16)));
  }
}

/// Row k and the next of stored bf16 [n][16] as pairs.
[[gnu::always_inline]] inline __m512i load_pairs(const uint8_t* src, size_t k, size_t n) {
  const auto row = [&](size_t i) __attribute__((always_inline)) {
    return _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(src + i * kPanelRows * 2)));
  };
  return k + 1 < n ? _mm512_or_si512(row(k), _mm512_slli_epi32(row(k + 1), 16)) : row(k);
}

/// Two activations in every dword; only the first of an odd end.
[[gnu::always_inline]] inline __m512bh broadcast_pair(const uint16_t* x, size_t n) {
  uint32_t bits = 0;
  __builtin_memcpy(&bits, x, n >= 2 ? 4 : 2);
  return reinterpret_cast<__m512bh>(_mm512_set1_epi32(static_cast<int>(bits)));
}

/// R rows of one panel over n values of k; weights(k) gives the pairs of k and k + 1.
template <int R, class W>
[[gnu::always_inline]] inline void tile(float* y, size_t y_stride, size_t rows, size_t n, const uint16_t* x,
                                        size_t x_stride, bool first, const W& weights) {
  __m512 acc[R];
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) acc[r] = first ? Simd::zero() : Simd::load_n(y + static_cast<size_t>(r) * y_stride, rows);
  const auto step = [&](size_t k, size_t left) __attribute__((always_inline)) {
    const auto w = reinterpret_cast<__m512bh>(weights(k));
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r)
      acc[r] = _mm512_dpbf16_ps(acc[r], w, broadcast_pair(x + static_cast<size_t>(r) * x_stride + k, left));
  };
  for (size_t k = 0; k + 2 <= n; k += 2) step(k, 2);
  if (n % 2) step(n - 1, 1);
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) Simd::store_n(y + static_cast<size_t>(r) * y_stride, acc[r], rows);
}

}  // namespace

void linear_bf16(float* y, size_t y_stride, const WeightView& w, size_t panel_begin, size_t panel_end,
                 const uint16_t* x, size_t T) {
  alignas(64) float buffer[simd::kSliceValues * kPanelRows];
  alignas(64) uint32_t pairs[simd::kSliceValues / 2 * kPanelRows];
  for (size_t p = panel_begin; p < panel_end; ++p) {
    float* out = y + p * kPanelRows;
    const size_t left = w.O - p * kPanelRows, rows = left < kPanelRows ? left : kPanelRows;
    const uint8_t* stored = reinterpret_cast<const uint8_t*>(w.data) + p * w.K * kPanelRows * 2;
    if (w.dtype == DType::kBF16 && T <= kRows) {  // no weight is used by two tiles: no buffer
      simd::for_tiles<kRows>(
          T, [&]<int R>(size_t t) __attribute__((always_inline)) {
            tile<R>(
                out + t * y_stride, y_stride, rows, w.K, x + t * w.K, w.K,
                true, [&](size_t k) __attribute__((always_inline)) { return load_pairs(stored, k, w.K); });
          });
      continue;
    }
    if (w.K == 0)
      for (size_t t = 0; t < T; ++t) Simd::store_n(out + t * y_stride, Simd::zero(), rows);
    for (size_t k = 0; k < w.K; k += simd::kSliceValues) {
      const size_t n = w.K - k < simd::kSliceValues ? w.K - k : simd::kSliceValues;
      pair_up(pairs, simd::Linear<Simd>::slice(buffer, w, p, k, n), n);
      simd::for_tiles<kRows>(T, [&]<int R>(size_t t) {
        tile<R>(
            out + t * y_stride, y_stride, rows, n, x + t * w.K + k, w.K,
            k == 0, [&](size_t i) __attribute__((always_inline)) {
              return _mm512_load_si512(pairs + i / 2 * kPanelRows);
            });
      });
    }
  }
}

}  // namespace fathom::avx512
