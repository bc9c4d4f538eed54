// linear_int8 with vpdpbusd: four products of unsigned weight bytes and signed activations in every lane, lanes over
// the 16 rows of a panel. Weights that use the whole signed range are stored plus 128 (simd_unpack.h); what the offsets
// add to an exact sum is known from the sums of the activations, and each sum starts with its negative. Sums inside a
// block are exact integers in any order. No software prefetch: on Zen 4 it costs (spec/cpu-speed.md 4).
#include "kernels/cpu/avx512.h"
#include "kernels/cpu/avx512_groups.h"
#include "kernels/cpu/simd_avx512.h"
#include "kernels/cpu/simd_int8.h"
#include "kernels/cpu/simd_unpack.h"

namespace fathom::avx512 {
namespace {

using simd::Activations;
using simd::Int8Traits;
using simd::PanelSlice;

/// Four bytes in every dword.
[[gnu::always_inline]] inline __m512i broadcast4(const void* p) {
  int bits;
  __builtin_memcpy(&bits, p, 4);
  return _mm512_set1_epi32(bits);
}

/// What a row of activations contributes by its sums alone to up to 256 values of k, a dword for each sub-block (or
/// block of 32): -offset times the sum; or the sum as f32, for the minima of blocks of 32; or for integer minima two
/// sub-blocks' sums as int16.
struct alignas(64) RowSums {
  int32_t of[16];
};
template <DType type>
[[gnu::always_inline]] inline void sum_up(RowSums& out, const int16_t* sums, size_t values) {
  constexpr Int8Traits kTraits = int8_traits<type>();
  const auto there = static_cast<__mmask16>((uint32_t{1} << values / 16) - 1);  // no more than the row's own
  const __m256i of16 = _mm256_maskz_loadu_epi16(there, sums);
  auto* to = reinterpret_cast<__m256i*>(out.of);
  if constexpr (kTraits.sub_block == 16 && kTraits.minimum == 0) {
    const __m512i starts = _mm512_mullo_epi32(_mm512_cvtepi16_epi32(of16), _mm512_set1_epi32(-kTraits.offset));
    _mm512_store_si512(out.of, starts);
  } else if constexpr (kTraits.sub_block == 16) {
    _mm256_store_si256(to, of16);
  } else if constexpr (kTraits.minimum == 0) {
    _mm256_store_si256(to, _mm256_madd_epi16(of16, _mm256_set1_epi16(-kTraits.offset)));
  } else {
    const __m256i of32 = _mm256_madd_epi16(of16, _mm256_set1_epi16(1));
    if constexpr (kTraits.minimum > 0)
      _mm256_store_ps(reinterpret_cast<float*>(to), _mm256_cvtepi32_ps(of32));
    else
      _mm_store_si128(reinterpret_cast<__m128i*>(to), _mm256_cvtepi32_epi16(of32));
  }
}

/// sums[r] += bytes . q for the steps [step, end) of four values in group of 32 g.
template <int step, int end, int R, class From>
[[gnu::always_inline]] inline void add_products(__m512i (&sums)[R], const From& from, size_t g, const int8_t* q,
                                                size_t q_stride) {
#pragma GCC unroll 8
  for (int s = step; s < end; ++s) {
    const __m512i weights = from.codes(g, s);
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      const int8_t* at = q + static_cast<size_t>(r) * q_stride + 32 * g + 4 * static_cast<size_t>(s);
      sums[r] = _mm512_dpbusd_epi32(sums[r], weights, broadcast4(at));
    }
  }
}

/// What a sum of products over sub-block (or block of 32) s starts with.
template <DType type, int R>
[[gnu::always_inline]] inline void begin_sums(__m512i (&sums)[R], const RowSums (&rows)[R], size_t s) {
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r)
    sums[r] = int8_traits<type>().offset != 0 ? broadcast4(&rows[r].of[s]) : _mm512_setzero_si512();
}

/// A tile's chains over up to eight blocks of 32.
template <DType type, int R, class From>
[[gnu::always_inline]] inline void continue_blocks(__m512 (&acc)[R], const From& from, size_t blocks,
                                                   const Activations& x) {
  RowSums rows[R];
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) sum_up<type>(rows[r], x.sums + static_cast<size_t>(r) * x.sums_stride, 32 * blocks);
#pragma GCC unroll 1
  for (size_t b = 0; b < blocks; ++b) {
    __m512i sums[R];
    begin_sums<type, R>(sums, rows, b);
    add_products<0, 8, R>(sums, from, b, x.q, x.q_stride);
    const __m512 d = from.d(b);
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      const __m512 dx = _mm512_set1_ps(x.d[static_cast<size_t>(r) * x.d_stride + b]);
      acc[r] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sums[r]), _mm512_mul_ps(d, dx), acc[r]);
      if constexpr (int8_traits<type>().minimum != 0) {
        const __m512 sum = _mm512_castsi512_ps(broadcast4(&rows[r].of[b]));
        acc[r] = _mm512_fmadd_ps(sum, _mm512_mul_ps(from.m(b), dx), acc[r]);
      }
    }
  }
}

/// The same over one block of 256 with integer scales inside.
template <DType type, int R, class From>
[[gnu::always_inline]] inline void continue_super_block(__m512 (&acc)[R], const From& from, const Activations& x) {
  constexpr Int8Traits kTraits = int8_traits<type>();
  RowSums rows[R];
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) sum_up<type>(rows[r], x.sums + static_cast<size_t>(r) * x.sums_stride, 256);
  __m512i sums[R];
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) sums[r] = _mm512_setzero_si512();
  const auto add_scaled = [&](const __m512i(&sub)[R], size_t s) __attribute__((always_inline)) {
    const __m512i scale = from.scale(s);
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) sums[r] = _mm512_add_epi32(sums[r], _mm512_mullo_epi32(sub[r], scale));
  };
#pragma GCC unroll 1
  for (size_t g = 0; g < 8; ++g) {
    __m512i sub[R];
    if constexpr (kTraits.sub_block == 32) {
      begin_sums<type, R>(sub, rows, g);
      add_products<0, 8, R>(sub, from, g, x.q, x.q_stride);
      add_scaled(sub, g);
    } else {
      begin_sums<type, R>(sub, rows, 2 * g);
      add_products<0, 4, R>(sub, from, g, x.q, x.q_stride);
      add_scaled(sub, 2 * g);
      begin_sums<type, R>(sub, rows, 2 * g + 1);
      add_products<4, 8, R>(sub, from, g, x.q, x.q_stride);
      add_scaled(sub, 2 * g + 1);
    }
  }
  const __m512 d = from.d(0);
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) {
    const __m512 dx = _mm512_set1_ps(x.d[static_cast<size_t>(r) * x.d_stride]);
    acc[r] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sums[r]), _mm512_mul_ps(d, dx), acc[r]);
  }
  if constexpr (kTraits.minimum == 0) return;
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) sums[r] = _mm512_setzero_si512();
#pragma GCC unroll 1
  for (size_t j = 0; j < 128 / kTraits.sub_block; ++j) {
    const __m512i minima = from.two_minima(j);
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) sums[r] = _mm512_dpwssd_epi32(sums[r], minima, broadcast4(&rows[r].of[j]));
  }
  const __m512 m = from.m(0);
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) {
    const __m512 dx = _mm512_set1_ps(x.d[static_cast<size_t>(r) * x.d_stride]);
    acc[r] = _mm512_fnmadd_ps(_mm512_cvtepi32_ps(sums[r]), _mm512_mul_ps(m, dx), acc[r]);
  }
}

struct Int8Kernel {
  using Simd = avx512::Simd;
  static constexpr int kRows = 8;
  static constexpr ActivationTiles kTiles{};
  static constexpr size_t kPanels = 1;
  /// Two tiles: unpacking runs beside the multiplications, most of it on other pipes, so that a slice pays later.
  static constexpr int kDirectRows = 16, kDirectTile = 8;
  template <DType type>
  using Slice = PanelSlice;

  template <DType type>
  static void unpack(PanelSlice& slice, const uint8_t* groups, size_t blocks) {
    simd::Unpack<Simd>::slice<type>(slice, groups, blocks);
  }

  /// R rows of one panel's outputs over one slice.
  template <DType type, int R>
  static void tile(float* y, size_t y_stride, size_t rows, const PanelSlice& slice, size_t blocks, const Activations& x,
                   bool first) {
    __m512 acc[R];
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r)
      acc[r] = first ? Simd::zero() : Simd::load_n(y + static_cast<size_t>(r) * y_stride, rows);
    if constexpr (has_sub_blocks<type>())
      continue_super_block<type, R>(acc, FromSlice<type>{slice}, x);
    else
      continue_blocks<type, R>(acc, FromSlice<type>{slice}, blocks, x);
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) Simd::store_n(y + static_cast<size_t>(r) * y_stride, acc[r], rows);
  }

  /// R rows of one panel's outputs over all of K.
  template <DType type, int R>
  static void direct(float* y, size_t y_stride, size_t rows, const uint8_t* groups, size_t blocks,
                     const Activations& x) {
    constexpr size_t kPiece = has_sub_blocks<type>() ? 1 : 8, kBlock = 256 / kPiece;
    __m512 acc[R];
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) acc[r] = Simd::zero();
#pragma GCC unroll 1
    for (size_t b = 0; b < blocks; b += kPiece) {
      const FromGroups<type> from{groups + b * simd::planes<type>().bytes};
      const Activations at = {x.q + kBlock * b, x.d + b,    x.sums + kBlock / 16 * b,
                              x.q_stride,       x.d_stride, x.sums_stride};
      if constexpr (has_sub_blocks<type>())
        continue_super_block<type, R>(acc, from, at);
      else
        continue_blocks<type, R>(acc, from, blocks - b < kPiece ? blocks - b : kPiece, at);
    }
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
