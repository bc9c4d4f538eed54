// linear_int8 with vpdpbusd: four products of unsigned weight bytes and signed activations in every lane, lanes over
// the 16 rows of a panel. Weights that use the whole signed range are stored plus 128 (simd_unpack.h); what the offsets
// add to an exact sum is known from the sums of the activations, and each sum starts with its negative. Sums inside a
// block are exact integers in any order. No software prefetch: on Zen 4 it costs (spec/cpu-speed.md 4).
#include "kernels/cpu/avx512.h"
#include "kernels/cpu/avx512_groups.h"
#include "kernels/cpu/avx512_tiles.h"
#include "kernels/cpu/simd_avx512.h"
#include "kernels/cpu/simd_int8.h"
#include "kernels/cpu/simd_unpack.h"

namespace fathom::avx512 {
namespace {

using simd::Activations;
using simd::Int8Traits;
using simd::PanelSlice;

/// sums[r] += bytes . q for the steps [step, end) of four values in group of 32 g.
template <int step, int end, int R, class From, class Rows>
[[gnu::always_inline]] inline void add_products(__m512i (&sums)[R], const From& from, size_t g, const Rows& x) {
#pragma GCC unroll 8
  for (int s = step; s < end; ++s) {
    const __m512i weights = from.codes(g, s);
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) sums[r] = add_products4(sums[r], weights, x.codes(r, g, s));
  }
}

/// What a sum of products over sub-block (or block of 32) s starts with.
template <DType type, int R, class Rows>
[[gnu::always_inline]] inline void begin_sums(__m512i (&sums)[R], size_t s, const Rows& x) {
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r)
    if constexpr (int8_traits<type>().offset != 0)
      sums[r] = x.start(r, s);
    else
      sums[r] = _mm512_setzero_si512();
}

/// A tile's chains over up to eight blocks of 32.
template <DType type, int R, class From, class Rows>
[[gnu::always_inline]] inline void continue_blocks(__m512 (&acc)[R], const From& from, size_t blocks, const Rows& x) {
#pragma GCC unroll 1
  for (size_t b = 0; b < blocks; ++b) {
    __m512i sums[R];
    begin_sums<type, R>(sums, b, x);
    add_products<0, 8, R>(sums, from, b, x);
    const __m512 d = from.d(b);
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      const __m512 dx = x.d(r, b);
      acc[r] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sums[r]), _mm512_mul_ps(d, dx), acc[r]);
      if constexpr (int8_traits<type>().minimum != 0)
        acc[r] = _mm512_fmadd_ps(x.sum(r, b), _mm512_mul_ps(from.m(b), dx), acc[r]);
    }
  }
}

/// The same over one block of 256 with integer scales inside.
template <DType type, int R, class From, class Rows>
[[gnu::always_inline]] inline void continue_super_block(__m512 (&acc)[R], const From& from, const Rows& x) {
  constexpr Int8Traits kTraits = int8_traits<type>();
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
      begin_sums<type, R>(sub, g, x);
      add_products<0, 8, R>(sub, from, g, x);
      add_scaled(sub, g);
    } else {
      begin_sums<type, R>(sub, 2 * g, x);
      add_products<0, 4, R>(sub, from, g, x);
      add_scaled(sub, 2 * g);
      begin_sums<type, R>(sub, 2 * g + 1, x);
      add_products<4, 8, R>(sub, from, g, x);
      add_scaled(sub, 2 * g + 1);
    }
  }
  const __m512 d = from.d(0);
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r)
    acc[r] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sums[r]), _mm512_mul_ps(d, x.d(r, 0)), acc[r]);
  if constexpr (kTraits.minimum == 0) return;
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) sums[r] = _mm512_setzero_si512();
#pragma GCC unroll 1
  for (size_t j = 0; j < 128 / kTraits.sub_block; ++j) {
    const __m512i minima = from.two_minima(j);
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) sums[r] = _mm512_dpwssd_epi32(sums[r], minima, x.two_sums(r, j));
  }
  const __m512 m = from.m(0);
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r)
    acc[r] = _mm512_fnmadd_ps(_mm512_cvtepi32_ps(sums[r]), _mm512_mul_ps(m, x.d(r, 0)), acc[r]);
}

struct Int8Kernel {
  using Simd = avx512::Simd;
  static constexpr int kRows = 8;  ///< of rows that are in no whole tile
  static constexpr ActivationTiles kTiles = kActivationTiles;
  static constexpr size_t kPanels = 2;
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
    multiply<type, R>(y, y_stride, rows, slice, blocks,
                      PlainRows<type, R>(x, has_sub_blocks<type>() ? 256 : 32 * blocks), first);
  }
  template <DType type>
  static void whole_tile(float* y, size_t y_stride, size_t rows, const PanelSlice& slice, size_t blocks,
                         const std::byte* x, bool first) {
    using Tile = typename TileRows<type>::Tile;
    multiply<type, kTileRows>(y, y_stride, rows, slice, blocks, TileRows<type>{*reinterpret_cast<const Tile*>(x)},
                              first);
  }
  template <DType type, int R, class Rows>
  [[gnu::always_inline]] static inline void multiply(float* y, size_t y_stride, size_t rows, const PanelSlice& slice,
                                                     size_t blocks, const Rows& x, bool first) {
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
      const size_t pieces = blocks - b < kPiece ? blocks - b : kPiece;
      const PlainRows<type, R> rows_of(at, kBlock * pieces);
      if constexpr (has_sub_blocks<type>())
        continue_super_block<type, R>(acc, from, rows_of);
      else
        continue_blocks<type, R>(acc, from, pieces, rows_of);
    }
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) Simd::store_n(y + static_cast<size_t>(r) * y_stride, acc[r], rows);
  }
};

}  // namespace

void fill_tiles(std::byte* tiles, const QuantizedRows& x, size_t begin, size_t end, size_t T, size_t K) {
  if (x.block == 32)
    fill_with<Tile32>(tiles, x, begin, end, T, K);
  else
    fill_with<Tile256>(tiles, x, begin, end, T, K);
}

static_assert(kActivationTiles.least == Int8Kernel::kDirectRows + 1);

void linear_int8(float* y, size_t y_stride, const WeightView& w, size_t panel_begin, size_t panel_end,
                 const QuantizedRows& x, size_t T) {
  simd::Int8Panels<Int8Kernel>::run(y, y_stride, w, panel_begin, panel_end, x, T);
}

}  // namespace fathom::avx512
