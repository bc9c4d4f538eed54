// The loop of linear_int8 over panels and slices of k, for a Kernel that multiplies one unpacked slice with a few rows:
//   Kernel::Slice<type>, Kernel::unpack<type>(slice, groups, blocks), kPanels slices at a time;
//   Kernel::tile<type, R>(y, y_stride, rows, slice, blocks, activations, first), R <= kRows;
//   with kTiles.rows != 0 Kernel::whole_tile<type>(y, y_stride, rows, slice, blocks, tile, first): see ActivationTiles;
//   up to kDirectRows rows go without a slice, in tiles of at most kDirectTile:
//   Kernel::direct<type, R>(y, y_stride, rows, groups, blocks, activations), over all of K.
// Kernel is private to the including file, so these templates are too. Pure functions, any thread.
#pragma once
#include <cstddef>
#include <cstdint>

#include "kernels/cpu/simd_linear.h"
#include "kernels/cpu/simd_planes.h"
#include "kernels/kernels.h"

namespace fathom::simd {

/// Where a tile's rows of quantised activations are, at the slice's first value.
struct Activations {
  const int8_t* q;
  const float* d;
  const int16_t* sums;
  size_t q_stride, d_stride, sums_stride;
};

/// Calls f.template operator()<type>() for a type with an int8 form.
template <class F>
inline void with_int8_type(DType type, const F& f) {
  switch (type) {
    case DType::kQ4_0: return f.template operator()<DType::kQ4_0>();
    case DType::kQ4_1: return f.template operator()<DType::kQ4_1>();
    case DType::kQ5_0: return f.template operator()<DType::kQ5_0>();
    case DType::kQ5_1: return f.template operator()<DType::kQ5_1>();
    case DType::kQ8_0: return f.template operator()<DType::kQ8_0>();
    case DType::kIQ4_NL: return f.template operator()<DType::kIQ4_NL>();
    case DType::kMXFP4: return f.template operator()<DType::kMXFP4>();
    case DType::kQ2_K: return f.template operator()<DType::kQ2_K>();
    case DType::kQ3_K: return f.template operator()<DType::kQ3_K>();
    case DType::kQ4_K: return f.template operator()<DType::kQ4_K>();
    case DType::kQ5_K: return f.template operator()<DType::kQ5_K>();
    case DType::kQ6_K: return f.template operator()<DType::kQ6_K>();
    case DType::kIQ4_XS: return f.template operator()<DType::kIQ4_XS>();
    default: return;  // the caller has checked int8_block()
  }
}

template <class Kernel>
struct Int8Panels {
  static constexpr size_t kFetchTiles = 32;  ///< more tiles than these hide what unpacking waits for

  static void run(float* y, size_t y_stride, const WeightView& w, size_t panel_begin, size_t panel_end,
                  const QuantizedRows& x, size_t T) {
    with_int8_type(w.dtype, [&]<DType type>() { panels<type>(y, y_stride, w, panel_begin, panel_end, x, T); });
  }

 private:
  template <DType type>
  static void panels(float* y, size_t y_stride, const WeightView& w, size_t panel_begin, size_t panel_end,
                     const QuantizedRows& x, size_t T) {
    constexpr size_t kBlock = has_sub_blocks<type>() ? 256 : 32;
    const auto* data = reinterpret_cast<const uint8_t*>(w.data);
    const size_t K = w.K;
    if (T > 0 && T <= Kernel::kDirectRows && K > 0) return direct<type>(y, y_stride, w, panel_begin, panel_end, x, T);
    constexpr ActivationTiles kTiles = Kernel::kTiles;
    const size_t tiles = kTiles.rows && x.tiles ? T / kTiles.rows : 0, tiled = tiles * kTiles.rows;
    typename Kernel::template Slice<type> slices[Kernel::kPanels];
    for (size_t p = panel_begin; p < panel_end; p += Kernel::kPanels) {
      const size_t n = panel_end - p < Kernel::kPanels ? panel_end - p : Kernel::kPanels;
      const auto outputs = [&](size_t i) {
        return w.O - (p + i) * kPanelRows < kPanelRows ? w.O - (p + i) * kPanelRows : kPanelRows;
      };
      float* out = y + p * kPanelRows;
      if (K == 0)
        for (size_t t = 0; t < T; ++t)
          for (size_t i = 0; i < n; ++i)
            for (size_t r = 0; r < outputs(i); ++r) out[t * y_stride + i * kPanelRows + r] = 0;
      for (size_t k = 0; k < K; k += kSliceValues) {
        const size_t blocks = (K - k < kSliceValues ? K - k : kSliceValues) / kBlock, b = k / kBlock;
        const auto group = [&](size_t i) { return data + ((p + i) * (K / kBlock) + b) * planes<type>().bytes; };
        for (size_t i = 0; i < n; ++i) Kernel::template unpack<type>(slices[i], group(i), blocks);
        // Few tiles do not hide that the next slice's groups come from memory: each fetches a piece of them.
        const size_t slice_bytes = blocks * planes<type>().bytes;
        const size_t piece = tiles == 0 || tiles > kFetchTiles ? 0 : (slice_bytes / tiles + 63) / 64 * 64;
        if constexpr (kTiles.rows != 0)
          for (size_t j = 0; j < tiles; ++j)
            for (size_t i = 0; i < n; ++i) {
              Kernel::template whole_tile<type>(out + j * kTiles.rows * y_stride + i * kPanelRows, y_stride, outputs(i),
                                                slices[i], blocks,
                                                x.tiles + (k / kSliceValues * tiles + j) * kTiles.bytes, k == 0);
              for (size_t at = j * piece; at < (j + 1) * piece; at += 64)
                __builtin_prefetch(group(i) + slice_bytes + at, 0, 2);
            }
        for_tiles<Kernel::kRows>(T - tiled, [&]<int R>(size_t rest) {
          const size_t t = tiled + rest;
          const Activations tile_x = {
              x.q + t * K + k, x.d + t * (K / kBlock) + b, x.sums + (t * K + k) / 16, K, K / kBlock, K / 16};
          for (size_t i = 0; i < n; ++i)
            Kernel::template tile<type, R>(out + t * y_stride + i * kPanelRows, y_stride, outputs(i), slices[i], blocks,
                                           tile_x, k == 0);
        });
      }
    }
  }

  template <DType type>
  static void direct(float* y, size_t y_stride, const WeightView& w, size_t panel_begin, size_t panel_end,
                     const QuantizedRows& x, size_t T) {
    constexpr size_t kBlock = has_sub_blocks<type>() ? 256 : 32;
    const size_t K = w.K, blocks = K / kBlock;
    for (size_t p = panel_begin; p < panel_end; ++p) {
      const auto* groups = reinterpret_cast<const uint8_t*>(w.data) + p * blocks * planes<type>().bytes;
      const size_t left = w.O - p * kPanelRows, rows = left < kPanelRows ? left : kPanelRows;
      for_tiles<Kernel::kDirectTile, true>(T, [&]<int R>(size_t t) {
        Kernel::template direct<type, R>(y + p * kPanelRows + t * y_stride, y_stride, rows, groups, blocks,
                                         {x.q + t * K, x.d + t * blocks, x.sums + t * (K / 16), K, blocks, K / 16});
      });
    }
  }
};

}  // namespace fathom::simd
