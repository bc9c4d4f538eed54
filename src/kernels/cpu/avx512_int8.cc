// linear_int8 with vpdpbusd: four products of unsigned weight bytes and signed activations in every lane, lanes over
// the 16 rows of a panel. Weights that use the whole signed range are read plus 128 (avx512_groups.h); what the offsets
// add to an exact sum is known from the sums of the activations, and each sum starts with its negative. Sums inside a
// block are exact integers in any order.
#include "kernels/cpu/avx512.h"
#include "kernels/cpu/avx512_groups.h"
#include "kernels/cpu/avx512_tiles.h"
#include "kernels/cpu/simd_avx512.h"
#include "kernels/cpu/simd_int8.h"

namespace fathom::avx512 {
namespace {

using simd::Int8Traits;

/// Panels that meet a tile of activations before the next one does: together they stay in the second cache.
constexpr size_t kPanels = 4;

/// Groups of 256 values of k.
template <DType type>
consteval size_t groups_at_once() {
  return has_sub_blocks<type>() ? 1 : 8;
}

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
    from.fetch(b);
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
    from.fetch(g);
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

/// Whether a product fetches ahead. With one row the processor's own fetching reads at memory's speed, and more costs a
/// quarter of it; the slower a product walks, the less is fetched for it (docs/performance.md).
template <DType type>
consteval bool fetches(int rows) {
  return rows > (type == DType::kQ8_0 ? 4 : 1);
}

/// R rows of one panel's outputs over all of K. rows_at(b): the rows of activations from group b on.
template <DType type, int R, class RowsAt>
inline void over_k(float* y, size_t y_stride, size_t outputs, const uint8_t* groups, size_t blocks,
                   const RowsAt& rows_at) {
  constexpr size_t kPiece = groups_at_once<type>();
  __m512 acc[R];
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) acc[r] = Simd::zero();
#pragma GCC unroll 1
  for (size_t b = 0; b < blocks; b += kPiece) {
    const FromGroups<type, fetches<type>(R)> from{groups + b * simd::planes<type>().bytes};
    const auto x = rows_at(b);
    if constexpr (has_sub_blocks<type>())
      continue_super_block<type, R>(acc, from, x);
    else
      continue_blocks<type, R>(acc, from, blocks - b < kPiece ? blocks - b : kPiece, x);
  }
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) Simd::store_n(y + static_cast<size_t>(r) * y_stride, acc[r], outputs);
}

template <DType type>
void panels(float* y, size_t y_stride, const WeightView& w, size_t panel_begin, size_t panel_end,
            const QuantizedRows& x, size_t T) {
  constexpr size_t kPiece = groups_at_once<type>(), kBlock = 256 / kPiece;
  const size_t K = w.K, blocks = K / kBlock;
  const size_t tiles = x.tiles ? T / kTileRows : 0, tiled = tiles * kTileRows;
  for (size_t begin = panel_begin; begin < panel_end; begin += kPanels) {
    const size_t end = panel_end - begin < kPanels ? panel_end : begin + kPanels;
    const auto each_panel = [&](size_t row, const auto& product) {
      for (size_t p = begin; p < end; ++p) {
        const auto* groups = reinterpret_cast<const uint8_t*>(w.data) + p * blocks * simd::planes<type>().bytes;
        const size_t left = w.O - p * kPanelRows, outputs = left < kPanelRows ? left : kPanelRows;
        product(y + p * kPanelRows + row * y_stride, outputs, groups);
      }
    };
    for (size_t j = 0; j < tiles; ++j) {
      const auto* tile = tile_at<typename TileRows<type>::Tile>(x.tiles, j, K);
      each_panel(j * kTileRows, [&](float* out, size_t outputs, const uint8_t* groups) {
        over_k<type, kTileRows>(out, y_stride, outputs, groups, blocks,
                                [&](size_t b) { return TileRows<type>{tile[b / kPiece]}; });
      });
    }
    simd::for_tiles<kTileRows, true>(T - tiled, [&]<int R>(size_t rest) {
      const size_t t = tiled + rest;
      each_panel(t, [&](float* out, size_t outputs, const uint8_t* groups) {
        over_k<type, R>(out, y_stride, outputs, groups, blocks, [&](size_t b) {
          const size_t k = b * kBlock, values = K - k < 256 ? K - k : 256;
          return PlainRows<type, R>(
              {x.q + t * K + k, x.d + t * blocks + b, x.sums + (t * K + k) / 16, K, blocks, K / 16}, values);
        });
      });
    });
  }
}

}  // namespace

void fill_tiles(std::byte* tiles, const QuantizedRows& x, size_t begin, size_t end, size_t /*T*/, size_t K) {
  if (x.block == 32)
    fill_with<Tile32>(tiles, x, begin, end, K);
  else
    fill_with<Tile256>(tiles, x, begin, end, K);
}

void linear_int8(float* y, size_t y_stride, const WeightView& w, size_t panel_begin, size_t panel_end,
                 const QuantizedRows& x, size_t T) {
  simd::with_int8_type(w.dtype, [&]<DType type>() { panels<type>(y, y_stride, w, panel_begin, panel_end, x, T); });
}

}  // namespace fathom::avx512
