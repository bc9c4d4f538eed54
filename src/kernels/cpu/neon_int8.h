// linear_int8 with NEON: signed weight bytes times signed activations, four products of each of four rows of the panel
// at once, by sdot where the file is compiled for it and else by widening products. Sums inside a block are exact
// integers in any order (spec/numerics.md 3). Included by neon_int8.cc and neon_dotprod.cc alone. Pure functions.
#pragma once
#include <arm_neon.h>

#include "kernels/cpu/neon_unpack.h"
#include "kernels/cpu/simd_int8.h"
#include "kernels/cpu/simd_neon.h"

namespace fathom::neon {
namespace {

using simd::Activations;
using simd::has_sub_blocks;
using simd::int8_traits;
using simd::PanelSlice;

/// sum[row] += the products of row's four bytes of w and bytes 4 step .. + 3 of x.
template <int step>
[[gnu::always_inline]] inline int32x4_t dot(int32x4_t sum, int8x16_t w, int8x16_t x) {
#ifdef __ARM_FEATURE_DOTPROD
  return vdotq_laneq_s32(sum, w, x, step);
#else
  const int8x16_t four = vreinterpretq_s8_s32(vdupq_laneq_s32(vreinterpretq_s32_s8(x), step));
  const int16x8_t first = vmull_s8(vget_low_s8(w), vget_low_s8(four)), second = vmull_high_s8(w, four);
  return vpadalq_s16(sum, vpaddq_s16(first, second));  // two products of at most 128 * 127 fit into int16
#endif
}

/// Where a tile's weights come from: a slice that was unpacked before, for many rows of activations.
template <DType type>
struct FromSlice {
  const PanelSlice& slice;

  /// Of the 4 rows from r on: the bytes of 4 values at step `step` of group of 32 g.
  template <int step>
  [[gnu::always_inline]] inline int8x16_t codes(size_t g, size_t r) const {
    return vreinterpretq_s8_u8(vld1q_u8(&slice.w[8 * g + step][r][0]));
  }
  /// Of the 8 rows from r on, for sub-block s.
  [[gnu::always_inline]] inline int32x4x2_t scale(size_t s, size_t r) const {
    return {{vld1q_s32(&slice.scale[s][r]), vld1q_s32(&slice.scale[s][r + 4])}};
  }
  [[gnu::always_inline]] inline int16x8_t minima(size_t s, size_t r) const {
    return vld1q_s16(&slice.secondary[0][0][0] + 16 * s + r);
  }
  [[gnu::always_inline]] inline float32x4_t d(size_t b, size_t r) const { return vld1q_f32(&slice.d[b][r]); }
  [[gnu::always_inline]] inline float32x4_t m(size_t b, size_t r) const { return vld1q_f32(&slice.m[b][r]); }
};

/// ... or the packed groups themselves, for few.
template <DType type>
struct FromGroups {
  using Unpack = simd::Unpack<Simd>;
  static constexpr size_t kBytes = simd::planes<type>().bytes;
  const uint8_t* group;

  template <int step>
  [[gnu::always_inline]] inline int8x16_t codes(size_t g, size_t r) const {
    if constexpr (has_sub_blocks<type>()) return Unpack::template codes4<type, step>(group, g, r);
    return Unpack::template codes4<type, step>(group + g * kBytes, 0, r);
  }
  [[gnu::always_inline]] inline int32x4x2_t scale(size_t s, size_t r) const {
    const int16x8_t v = Unpack::template scales8<type>(group, s, r);
    return {{vmovl_s16(vget_low_s16(v)), vmovl_high_s16(v)}};
  }
  [[gnu::always_inline]] inline int16x8_t minima(size_t s, size_t r) const {
    return Unpack::template minima8<type>(group, s, r);
  }
  [[gnu::always_inline]] inline float32x4_t d(size_t b, size_t r) const {
    return Unpack::template d4<type>(group + b * kBytes, r);
  }
  [[gnu::always_inline]] inline float32x4_t m(size_t b, size_t r) const {
    return Unpack::template m4<type>(group + b * kBytes, r);
  }
};

/// Integers and chains of a tile: R rows of activations times 8 rows of the panel, as pairs of four.
template <int R>
struct Sums {
  int32x4_t at[R][2];

  [[gnu::always_inline]] inline void clear() {
#pragma GCC unroll 8
    for (auto& row : at) row[0] = row[1] = vdupq_n_s32(0);
  }
};
template <int R>
struct Chains {
  float32x4_t at[R][2];
};

/// Adds 16 values' products: the first (half 0) or last of group of 32 g; q is at the first of them.
template <int half, int R, class From>
[[gnu::always_inline]] inline void add_sixteen(Sums<R>& sums, const From& from, size_t g, size_t row, const int8_t* q,
                                               size_t q_stride) {
  int8x16_t x[R];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) x[r] = vld1q_s8(q + static_cast<size_t>(r) * q_stride);
  const auto add = [&]<int step>() __attribute__((always_inline)) {
    const int8x16_t low = from.template codes<4 * half + step>(g, row);
    const int8x16_t high = from.template codes<4 * half + step>(g, row + 4);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      sums.at[r][0] = dot<step>(sums.at[r][0], low, x[r]);
      sums.at[r][1] = dot<step>(sums.at[r][1], high, x[r]);
    }
  };
  add.template operator()<0>();
  add.template operator()<1>();
  add.template operator()<2>();
  add.template operator()<3>();
}

/// A tile's chains for the 8 rows from `row` on over blocks of 32.
template <DType type, int R, class From>
[[gnu::always_inline]] inline void continue_blocks(Chains<R>& acc, const From& from, size_t blocks, size_t row,
                                                   const Activations& x) {
  for (size_t b = 0; b < blocks; ++b) {
    Sums<R> sums;
    sums.clear();
    add_sixteen<0, R>(sums, from, b, row, x.q + 32 * b, x.q_stride);
    add_sixteen<1, R>(sums, from, b, row, x.q + 32 * b + 16, x.q_stride);
#pragma GCC unroll 2
    for (size_t part = 0; part < 2; ++part) {
      const float32x4_t d = from.d(b, row + 4 * part);
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) {
        float32x4_t& a = acc.at[r][part];
        const float dx = x.d[static_cast<size_t>(r) * x.d_stride + b];
        a = vfmaq_f32(a, vcvtq_f32_s32(sums.at[r][part]), vmulq_n_f32(d, dx));
        if constexpr (int8_traits<type>().minimum != 0) {
          const int16_t* s = x.sums + static_cast<size_t>(r) * x.sums_stride + 2 * b;
          a = vfmaq_f32(a, vdupq_n_f32(static_cast<float>(s[0] + s[1])), vmulq_n_f32(from.m(b, row + 4 * part), dx));
        }
      }
    }
  }
}

/// Sums over the sub-blocks of a block of 256: minimum times the sum of q.
template <DType type, int R, class From>
[[gnu::always_inline]] inline void add_minima(Sums<R>& sums, const From& from, size_t row, const Activations& x) {
  constexpr size_t kSub = int8_traits<type>().sub_block;
  for (size_t s = 0; s < 256 / kSub; ++s) {
    const int16x8_t minima = from.minima(s, row);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      const int16_t* q16 = x.sums + static_cast<size_t>(r) * x.sums_stride + kSub / 16 * s;
      const auto q = static_cast<int16_t>(kSub == 16 ? q16[0] : q16[0] + q16[1]);
      sums.at[r][0] = vmlal_n_s16(sums.at[r][0], vget_low_s16(minima), q);
      sums.at[r][1] = vmlal_high_n_s16(sums.at[r][1], minima, q);
    }
  }
}

/// The chains over one block of 256 with integer scales inside.
template <DType type, int R, class From>
[[gnu::always_inline]] inline void continue_super_block(Chains<R>& acc, const From& from, size_t row,
                                                        const Activations& x) {
  constexpr bool kSixteen = int8_traits<type>().sub_block == 16;
  Sums<R> sums;
  sums.clear();
  const auto scaled = [&](const Sums<R>& sub, size_t s) __attribute__((always_inline)) {
    const int32x4x2_t scale = from.scale(s, row);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      sums.at[r][0] = vmlaq_s32(sums.at[r][0], sub.at[r][0], scale.val[0]);
      sums.at[r][1] = vmlaq_s32(sums.at[r][1], sub.at[r][1], scale.val[1]);
    }
  };
  for (size_t g = 0; g < 8; ++g) {
    Sums<R> sub;
    sub.clear();
    add_sixteen<0, R>(sub, from, g, row, x.q + 32 * g, x.q_stride);
    if constexpr (kSixteen) scaled(sub, 2 * g), sub.clear();
    add_sixteen<1, R>(sub, from, g, row, x.q + 32 * g + 16, x.q_stride);
    scaled(sub, kSixteen ? 2 * g + 1 : g);
  }
  Sums<R> minima;
  minima.clear();
  if constexpr (int8_traits<type>().minimum != 0) add_minima<type, R>(minima, from, row, x);
#pragma GCC unroll 2
  for (size_t part = 0; part < 2; ++part) {
    const float32x4_t d = from.d(0, row + 4 * part);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      float32x4_t& a = acc.at[r][part];
      const float dx = x.d[static_cast<size_t>(r) * x.d_stride];
      a = vfmaq_f32(a, vcvtq_f32_s32(sums.at[r][part]), vmulq_n_f32(d, dx));
      if constexpr (int8_traits<type>().minimum != 0)
        a = vfmsq_f32(a, vcvtq_f32_s32(minima.at[r][part]), vmulq_n_f32(from.m(0, row + 4 * part), dx));
    }
  }
}

/// The first n (at most 8) outputs of each row of activations.
template <int R>
[[gnu::always_inline]] inline void load_chains(Chains<R>& acc, const float* y, size_t y_stride, size_t n) {
  for (int r = 0; r < R; ++r) {
    float lanes[8] = {};
    __builtin_memcpy(lanes, y + static_cast<size_t>(r) * y_stride, (n < 8 ? n : 8) * sizeof(float));
    acc.at[r][0] = vld1q_f32(lanes), acc.at[r][1] = vld1q_f32(lanes + 4);
  }
}
template <int R>
[[gnu::always_inline]] inline void store_chains(float* y, size_t y_stride, const Chains<R>& acc, size_t n) {
  for (int r = 0; r < R; ++r) {
    float lanes[8];
    vst1q_f32(lanes, acc.at[r][0]), vst1q_f32(lanes + 4, acc.at[r][1]);
    __builtin_memcpy(y + static_cast<size_t>(r) * y_stride, lanes, (n < 8 ? n : 8) * sizeof(float));
  }
}

struct Int8Kernel {
  using Simd = neon::Simd;
  static constexpr int kRows = 4, kDirectRows = 4, kDirectTile = 4;
  static constexpr ActivationTiles kTiles{};
  static constexpr size_t kPanels = 1;
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
    for (size_t row = 0; row < rows; row += 8) {
      Chains<R> acc;
      load_chains<R>(acc, y + row, y_stride, first ? 0 : rows - row);
      if constexpr (has_sub_blocks<type>())
        continue_super_block<type, R>(acc, FromSlice<type>{slice}, row, x);
      else
        continue_blocks<type, R>(acc, FromSlice<type>{slice}, blocks, row, x);
      store_chains<R>(y + row, y_stride, acc, rows - row);
    }
  }

  /// R rows of one panel's outputs over all of K, in pieces of up to 256 values, which stay in L1 for the second half
  /// of the panel.
  template <DType type, int R>
  static void direct(float* y, size_t y_stride, size_t rows, const uint8_t* groups, size_t blocks,
                     const Activations& x) {
    constexpr bool kSubs = has_sub_blocks<type>();
    constexpr size_t kBytes = simd::planes<type>().bytes, kPiece = kSubs ? 1 : 8, kValues = kSubs ? 256 : 32;
    Chains<R> acc[2];
    for (Chains<R>& half : acc) load_chains<R>(half, y, 0, 0);
    for (size_t b = 0; b < blocks; b += kPiece) {
      const Activations at = {x.q + kValues * b, x.d + b,    x.sums + kValues / 16 * b,
                              x.q_stride,        x.d_stride, x.sums_stride};
      const FromGroups<type> from{groups + b * kBytes};
#pragma GCC unroll 1
      for (size_t half = 0; half < 2; ++half) {
        if constexpr (kSubs)
          continue_super_block<type, R>(acc[half], from, 8 * half, at);
        else
          continue_blocks<type, R>(acc[half], from, blocks - b < kPiece ? blocks - b : kPiece, 8 * half, at);
      }
    }
    for (size_t half = 0; 8 * half < rows; ++half) store_chains<R>(y + 8 * half, y_stride, acc[half], rows - 8 * half);
  }
};

}  // namespace
}  // namespace fathom::neon
