// linear_exact for any S with sixteen f32 lanes (simd_avx2.h, simd_avx512.h): a slice of k of one panel is dequantised
// to f32 [k][16] on the stack and used for all rows of activations, whose chains continue in y from slice to slice.
// S is private to the including file, so these templates are too. Pure functions, any thread.
#pragma once
#include <cstddef>
#include <cstdint>

#include "kernels/cpu/simd_planes.h"
#include "kernels/kernels.h"
#include "kernels/ref/scalar.h"

namespace fathom::simd {

/// Rows of f32 activations that pass over many weights together: they stay in the second cache. A multiple of tiles.
inline constexpr size_t kRowsAtOnce = 96;

/// Calls f.template operator()<R>(first row) for tiles of R <= Most rows that cover T rows: full ones, then the rest,
/// of fewer than five rows as one tile where `whole` says so.
template <int Most, bool whole = false, class F>
[[gnu::always_inline]] inline void for_tiles(size_t T, const F& f) {
  size_t t = 0;
  for (; t + Most <= T; t += Most) f.template operator()<Most>(t);
  if constexpr (Most > 1) {
    if (t < T) {
      const auto rest = [&]<int R>(size_t first) { f.template operator()<R>(t + first); };
      for_tiles<whole && Most <= 4 ? Most - 1 : (Most + 1) / 2, whole>(T - t, rest);
    }
  }
}

template <class S>
struct Linear {
  using V = typename S::V;

  static void exact(float* y, size_t y_stride, const WeightView& w, size_t panel_begin, size_t panel_end,
                    const float* x, size_t x_stride, size_t T) {
    // f32 weights are read where they lie, others dequantised once for all rows.
    if (w.dtype == DType::kF32 && T > kRowsAtOnce) {
      for (size_t t = 0; t < T; t += kRowsAtOnce)
        exact(y + t * y_stride, y_stride, w, panel_begin, panel_end, x + t * x_stride, x_stride,
              T - t < kRowsAtOnce ? T - t : kRowsAtOnce);
      return;
    }
    alignas(64) float buffer[kSliceValues * kPanelRows];
    for (size_t p = panel_begin; p < panel_end; ++p) {
      float* out = y + p * kPanelRows;
      const size_t left = w.O - p * kPanelRows, rows = left < kPanelRows ? left : kPanelRows;
      if (T <= S::kLinearRows && exact_at_once(out, y_stride, rows, w, p, x, x_stride, T)) continue;
      if (w.K == 0)
        for (size_t t = 0; t < T; ++t) S::store_n(out + t * y_stride, S::zero(), rows);
      for (size_t k = 0; k < w.K; k += kSliceValues) {
        const size_t n = w.K - k < kSliceValues ? w.K - k : kSliceValues;
        const float* values = slice(buffer, w, p, k, n);
        for_tiles<S::kLinearRows>(T, [&]<int R>(size_t t) {
          tile<R>(
              out + t * y_stride, y_stride, rows, n, x + t * x_stride + k, x_stride,
              k == 0, [&](size_t i) __attribute__((always_inline)) { return S::load(values + i * kPanelRows); });
        });
      }
    }
  }

  /// Values [k, k + n) of panel p as f32 [n][16]: in the buffer, or where they are stored.
  static const float* slice(float* buffer, const WeightView& w, size_t p, size_t k, size_t n) {
    const auto* bytes = reinterpret_cast<const uint8_t*>(w.data);
    switch (w.dtype) {
      case DType::kF32: return reinterpret_cast<const float*>(bytes) + (p * w.K + k) * kPanelRows;
      case DType::kBF16: widen<&S::load_bf16>(buffer, bytes + (p * w.K + k) * kPanelRows * 2, n); break;
      case DType::kF16: widen<&S::load_f16>(buffer, bytes + (p * w.K + k) * kPanelRows * 2, n); break;
      case DType::kF8E4M3: widen_f8(buffer, w, p, k, n); break;
      case DType::kQ4_0: unpacked<DType::kQ4_0>(buffer, bytes, w.K, p, k, n); break;
      case DType::kQ4_1: unpacked<DType::kQ4_1>(buffer, bytes, w.K, p, k, n); break;
      case DType::kQ5_0: unpacked<DType::kQ5_0>(buffer, bytes, w.K, p, k, n); break;
      case DType::kQ5_1: unpacked<DType::kQ5_1>(buffer, bytes, w.K, p, k, n); break;
      case DType::kQ8_0: unpacked<DType::kQ8_0>(buffer, bytes, w.K, p, k, n); break;
      case DType::kIQ4_NL: unpacked<DType::kIQ4_NL>(buffer, bytes, w.K, p, k, n); break;
      case DType::kMXFP4: unpacked<DType::kMXFP4>(buffer, bytes, w.K, p, k, n); break;
      case DType::kQ2_K: unpacked<DType::kQ2_K>(buffer, bytes, w.K, p, k, n); break;
      case DType::kQ3_K: unpacked<DType::kQ3_K>(buffer, bytes, w.K, p, k, n); break;
      case DType::kQ4_K: unpacked<DType::kQ4_K>(buffer, bytes, w.K, p, k, n); break;
      case DType::kQ5_K: unpacked<DType::kQ5_K>(buffer, bytes, w.K, p, k, n); break;
      case DType::kQ6_K: unpacked<DType::kQ6_K>(buffer, bytes, w.K, p, k, n); break;
      case DType::kIQ4_XS: unpacked<DType::kIQ4_XS>(buffer, bytes, w.K, p, k, n); break;
      default: ref::dequantize_panel(buffer, w, p, k, n);
    }
    return buffer;
  }

 private:
  /// Few rows, so that no weight is used by two tiles: plain numbers are widened on the way, without a buffer. False
  /// for quantised types.
  static bool exact_at_once(float* y, size_t y_stride, size_t rows, const WeightView& w, size_t p, const float* x,
                            size_t x_stride, size_t T) {
    const auto* src = reinterpret_cast<const uint8_t*>(w.data);
    const auto run = [&](const auto& weight) __attribute__((always_inline)) {
      for_tiles<S::kLinearRows>(
          T, [&]<int R>(size_t t) __attribute__((always_inline)) {
            tile<R>(y + t * y_stride, y_stride, rows, w.K, x + t * x_stride, x_stride, true, weight);
          });
      return true;
    };
    const auto* words = reinterpret_cast<const uint16_t*>(src + p * w.K * kPanelRows * 2);
    if (w.dtype == DType::kBF16)
      return run([&](size_t k) __attribute__((always_inline)) { return S::load_bf16(words + k * kPanelRows); });
    if (w.dtype == DType::kF16)
      return run([&](size_t k) __attribute__((always_inline)) { return S::load_f16(words + k * kPanelRows); });
    if (w.dtype != DType::kF8E4M3) return false;
    const float* scales = panel_scales(w, p);
    return run([&](size_t k) __attribute__((always_inline)) {
      return S::mul(S::load_f8(src + (p * w.K + k) * kPanelRows), S::set1(scales[k / 128]));
    });
  }

  /// The FP8 scales of a panel's rows, one per 128 values of k: 16 divides 128, so they share a row of blocks.
  static const float* panel_scales(const WeightView& w, size_t p) {
    return w.scale_inv + p * kPanelRows / 128 * ((w.K + 127) / 128);
  }

  /// R rows of outputs of one panel continue over n values of k; weight(k) gives the 16 rows' values.
  template <int R, class W>
  [[gnu::always_inline]] static inline void tile(float* y, size_t y_stride, size_t rows, size_t n, const float* x,
                                                 size_t x_stride, bool first, const W& weight) {
    V acc[R];
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r)
      acc[r] = first                ? S::zero()
               : rows == kPanelRows ? S::load(y + static_cast<size_t>(r) * y_stride)
                                    : S::load_n(y + static_cast<size_t>(r) * y_stride, rows);
    for (size_t k = 0; k < n; ++k) {
      const V w = weight(k);
#pragma GCC unroll 16
      for (int r = 0; r < R; ++r) acc[r] = S::fma(w, S::set1(x[static_cast<size_t>(r) * x_stride + k]), acc[r]);
    }
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      if (rows == kPanelRows)
        S::store(y + static_cast<size_t>(r) * y_stride, acc[r]);
      else
        S::store_n(y + static_cast<size_t>(r) * y_stride, acc[r], rows);
    }
  }

  template <auto load>
  static void widen(float* out, const uint8_t* src, size_t n) {
    for (size_t k = 0; k < n; ++k)
      S::store(out + k * kPanelRows, load(reinterpret_cast<const uint16_t*>(src + k * kPanelRows * 2)));
  }

  /// Each value times the scale of its 128 x 128 block.
  static void widen_f8(float* out, const WeightView& w, size_t p, size_t k, size_t n) {
    const uint8_t* src = reinterpret_cast<const uint8_t*>(w.data) + (p * w.K + k) * kPanelRows;
    const float* scales = panel_scales(w, p);
    for (size_t i = 0; i < n; ++i)
      S::store(out + i * kPanelRows, S::mul(S::load_f8(src + i * kPanelRows), S::set1(scales[(k + i) / 128])));
  }

  template <DType type>
  static void unpacked(float* out, const uint8_t* data, size_t K, size_t p, size_t k, size_t n) {
    constexpr Int8Traits kTraits = int8_traits<type>();
    constexpr size_t kBlock = has_sub_blocks<type>() ? 256 : 32, kSub = kTraits.sub_block;
    PanelSlice slice;
    Unpack<S>::template slice<type>(slice, data + (p * (K / kBlock) + k / kBlock) * planes<type>().bytes, n / kBlock);
    for (size_t s = 0; s < n / kSub; ++s) {
      V scale, offset = S::zero();
      if constexpr (has_sub_blocks<type>()) {
        scale = S::mul(S::load(slice.d[0]), S::load_scales(slice.scale[s]));
        if constexpr (kTraits.minimum != 0)
          offset = S::mul(S::load(slice.m[0]), S::half_of_dwords(&slice.secondary[s / 2][0][0], s % 2));
      } else {
        scale = S::load(slice.d[s]);
        if constexpr (kTraits.minimum != 0) offset = S::load(slice.m[s]);
      }
      for (size_t i = s * kSub; i < (s + 1) * kSub; i += 4)
#pragma GCC unroll 4
        for (size_t j = 0; j < 4; ++j) {
          V v = S::mul(scale, S::byte_of_dwords(slice.w[i / 4], static_cast<int>(j), kTraits.offset));
          if constexpr (kTraits.minimum > 0) v = S::add(v, offset);
          if constexpr (kTraits.minimum < 0) v = S::sub(v, offset);
          S::store(out + (i + j) * kPanelRows, v);
        }
    }
  }
};

}  // namespace fathom::simd
