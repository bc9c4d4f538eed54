// linear_int8 with vpdpbusd: four products of unsigned weight bytes and signed activations in every lane, lanes over
// the 16 rows of a panel. Weights that use the whole signed range are stored plus 128 (simd_unpack.h), and every offset
// is taken off the exact sum through the sums of the activations. Sums inside a block are exact integers in any order.
#include "kernels/cpu/avx512.h"
#include "kernels/cpu/simd_avx512.h"
#include "kernels/cpu/simd_int8.h"

namespace fathom::avx512 {
namespace {

using simd::Activations;
using simd::has_sub_blocks;
using simd::int8_traits;
using simd::Int8Traits;
using simd::PanelSlice;

/// Four bytes in every dword.
[[gnu::always_inline]] inline __m512i broadcast4(const void* p) {
  int bits;
  __builtin_memcpy(&bits, p, 4);
  return _mm512_set1_epi32(bits);
}

/// sums[r] += bytes . q over `steps` steps of four values.
template <int steps, int R>
[[gnu::always_inline]] inline void add_products(__m512i (&sums)[R], const uint8_t* w, const int8_t* q,
                                                size_t q_stride) {
#pragma GCC unroll 8
  for (int step = 0; step < steps; ++step) {
    const __m512i weights = _mm512_load_si512(w + 64 * step);
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      const __m512i x = broadcast4(q + static_cast<size_t>(r) * q_stride + 4 * static_cast<size_t>(step));
      sums[r] = _mm512_dpbusd_epi32(sums[r], weights, x);
    }
  }
}

/// A tile's chains over the slice's blocks of 32.
template <DType type, int R>
[[gnu::always_inline]] inline void continue_blocks(__m512 (&acc)[R], const PanelSlice& slice, size_t blocks,
                                                   const Activations& x) {
  constexpr Int8Traits kTraits = int8_traits<type>();
  for (size_t b = 0; b < blocks; ++b) {
    __m512i sums[R];
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      const int16_t* s = x.sums + static_cast<size_t>(r) * x.sums_stride + 2 * b;
      sums[r] = _mm512_set1_epi32(-kTraits.offset * (s[0] + s[1]));
    }
    add_products<8, R>(sums, &slice.w[8 * b][0][0], x.q + 32 * b, x.q_stride);
    const __m512 d = _mm512_load_ps(slice.d[b]);
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      const size_t row = static_cast<size_t>(r);
      const __m512 dx = _mm512_set1_ps(x.d[row * x.d_stride + b]);
      acc[r] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sums[r]), _mm512_mul_ps(d, dx), acc[r]);
      if constexpr (kTraits.minimum != 0) {
        const int16_t* s = x.sums + row * x.sums_stride + 2 * b;
        acc[r] = _mm512_fmadd_ps(_mm512_set1_ps(static_cast<float>(s[0] + s[1])),
                                 _mm512_mul_ps(_mm512_load_ps(slice.m[b]), dx), acc[r]);
      }
    }
  }
}

/// The same over one block of 256 with integer scales inside.
template <DType type, int R>
[[gnu::always_inline]] inline void continue_super_block(__m512 (&acc)[R], const PanelSlice& slice,
                                                        const Activations& x) {
  constexpr Int8Traits kTraits = int8_traits<type>();
  constexpr size_t kSub = kTraits.sub_block;
  __m512i sums[R], secondary[R];
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) sums[r] = secondary[r] = _mm512_setzero_si512();
#pragma GCC unroll 1
  for (size_t s = 0; s < 256 / kSub; ++s) {
    __m512i sub[R];
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) sub[r] = _mm512_setzero_si512();
    add_products<kSub / 4, R>(sub, &slice.w[s * kSub / 4][0][0], x.q + s * kSub, x.q_stride);
    const __m512i scale = _mm512_load_si512(slice.scale[s]);
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) sums[r] = _mm512_add_epi32(sums[r], _mm512_mullo_epi32(sub[r], scale));
  }
#pragma GCC unroll 1
  for (size_t g = 0; g < 8; ++g) {
    const __m512i c = _mm512_load_si512(&slice.secondary[g][0][0]);
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r)
      secondary[r] =
          _mm512_dpwssd_epi32(secondary[r], c, broadcast4(x.sums + static_cast<size_t>(r) * x.sums_stride + 2 * g));
  }
  const __m512 d = _mm512_load_ps(slice.d[0]);
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) {
    const __m512 dx = _mm512_set1_ps(x.d[static_cast<size_t>(r) * x.d_stride]);
    if constexpr (kTraits.minimum == 0) sums[r] = _mm512_sub_epi32(sums[r], secondary[r]);
    acc[r] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sums[r]), _mm512_mul_ps(d, dx), acc[r]);
    if constexpr (kTraits.minimum != 0)
      acc[r] =
          _mm512_fnmadd_ps(_mm512_cvtepi32_ps(secondary[r]), _mm512_mul_ps(_mm512_load_ps(slice.m[0]), dx), acc[r]);
  }
}

struct Int8Kernel {
  using Simd = avx512::Simd;
  static constexpr int kRows = 8, kDirectRows = 0;
  static constexpr bool kSignedBytes = false;

  /// R rows of one panel's outputs over one slice.
  template <DType type, int R>
  static void tile(float* y, size_t y_stride, size_t rows, const PanelSlice& slice, size_t blocks, const Activations& x,
                   bool first) {
    __m512 acc[R];
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r)
      acc[r] = first ? Simd::zero() : Simd::load_n(y + static_cast<size_t>(r) * y_stride, rows);
    if constexpr (has_sub_blocks<type>())
      continue_super_block<type, R>(acc, slice, x);
    else
      continue_blocks<type, R>(acc, slice, blocks, x);
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) Simd::store_n(y + static_cast<size_t>(r) * y_stride, acc[r], rows);
  }
};

}  // namespace

void linear_int8(float* y, size_t y_stride, const WeightView& w, size_t panel_begin, size_t panel_end,
                 const QuantizedRows& x, size_t T) {
  simd::Int8Panels<Int8Kernel>::run(y, y_stride, w, panel_begin, panel_end, x, T);
}

}  // namespace fathom::avx512
