// Whole tiles of linear_int8's products with many rows: six rows of activations, side by side (ActivationTiles), times
// the 16 rows of a panel over a slice of k. Included by avx2_int8.cc alone. Pure functions.
#pragma once
#include <immintrin.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "kernels/cpu/avx2.h"
#include "kernels/cpu/avx2_int8_asm.h"
#include "kernels/cpu/simd_planes.h"
#include "kernels/kernels.h"

namespace fathom::avx2 {
namespace {

/// Rows quantised in one block of 256.
struct Tile256 {
  int8_t q[64][6][4];       ///< [k / 4][row][k % 4]
  int16_t sums16[8][6][2];  ///< of q over sub-blocks of 16, 2 j and 2 j + 1
  int16_t sums32[4][6][2];  ///< ... of 32
  float d[6];
};
/// ... in eight blocks of 32.
struct Tile32 {
  int8_t q[64][6][4];
  int32_t sums[8][6];  ///< [block][row]
  float d[8][6];
};

inline void fill_tile(Tile256& out, const QuantizedRows& x, size_t row, size_t k, size_t K) {
  for (size_t r = 0; r < 6; ++r, ++row) {
    for (size_t i = 0; i < 256; i += 4) std::memcpy(out.q[i / 4][r], x.q + row * K + k + i, 4);
    const int16_t* sums = x.sums + (row * K + k) / 16;
    for (size_t s = 0; s < 16; ++s) out.sums16[s / 2][r][s % 2] = sums[s];
    for (size_t s = 0; s < 8; ++s) out.sums32[s / 2][r][s % 2] = static_cast<int16_t>(sums[2 * s] + sums[2 * s + 1]);
    out.d[r] = x.d[(row * K + k) / 256];
  }
}
inline void fill_tile(Tile32& out, const QuantizedRows& x, size_t row, size_t k, size_t K) {
  const size_t n = K - k < 256 ? K - k : 256;
  for (size_t r = 0; r < 6; ++r, ++row) {
    for (size_t i = 0; i < n; i += 4) std::memcpy(out.q[i / 4][r], x.q + row * K + k + i, 4);
    const int16_t* sums = x.sums + (row * K + k) / 16;
    for (size_t b = 0; b < n / 32; ++b) {
      out.sums[b][r] = sums[2 * b] + sums[2 * b + 1];
      out.d[b][r] = x.d[(row * K + k) / 32 + b];
    }
  }
}
template <class Tile>
void fill_with(std::byte* to, const QuantizedRows& x, size_t begin, size_t end, size_t T, size_t K) {
  for (size_t k = 0; k < K; k += 256)
    for (size_t j = begin; j < end; ++j)
      fill_tile(*reinterpret_cast<Tile*>(to + (k / 256 * (T / 6) + j) * sizeof(Tile32)), x, 6 * j, k, K);
}

static_assert(sizeof(Tile32) == kActivationTiles.bytes && sizeof(Tile256) <= sizeof(Tile32));

/// Weights of the whole signed range: w holds |w|.
struct SignedSlice : simd::PanelSlice {
  uint8_t negative[64][16][4];  ///< all bits set where w < 0
  int32_t correction[8][16];  ///< [block][row]: the sum of those |w|, times the scale of their sub-block if it has one
};
template <DType type>
using Slice = std::conditional_t<simd::int8_traits<type>().offset == 128, SignedSlice, simd::PanelSlice>;

/// Signed bytes of w to |w| and the rest. blocks: of 32 values, or one of 256.
template <bool sub_blocks>
inline void split_signs(SignedSlice& slice, size_t blocks) {
  const __m256i zero = _mm256_setzero_si256();
  for (size_t half = 0; half < 16; half += 8) {
    __m256i total = zero;
    for (size_t b = 0; b < (sub_blocks ? 8 : blocks); ++b) {
      __m256i pairs = zero;
      for (size_t step = 8 * b; step < 8 * b + 8; ++step) {
        auto* at = reinterpret_cast<__m256i*>(slice.w[step][half]);
        const __m256i w = _mm256_load_si256(at), negative = _mm256_cmpgt_epi8(zero, w), size = _mm256_abs_epi8(w);
        _mm256_store_si256(at, size);
        _mm256_store_si256(reinterpret_cast<__m256i*>(slice.negative[step][half]), negative);
        const __m256i those = _mm256_maddubs_epi16(_mm256_and_si256(size, negative), _mm256_set1_epi8(1));
        pairs = _mm256_add_epi16(pairs, those);
      }
      if constexpr (sub_blocks) {
        const __m256i scale = _mm256_load_si256(reinterpret_cast<const __m256i*>(&slice.scale[b][half]));
        total = _mm256_add_epi32(total, _mm256_madd_epi16(pairs, scale));
      } else {
        total = _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
      }
      _mm256_store_si256(reinterpret_cast<__m256i*>(&slice.correction[sub_blocks ? 0 : b][half]), total);
    }
  }
}

template <DType type>
struct SixRows {
  static constexpr simd::Int8Traits kTraits = simd::int8_traits<type>();
  static constexpr size_t kSub = kTraits.sub_block;
  static constexpr bool kSigned = kTraits.offset == 128;
  using PanelSlice = Slice<type>;

  /// y [6][16], rows y_stride apart, continued over the slice.
  static void multiply(float* y, size_t y_stride, const PanelSlice& slice, size_t blocks, const std::byte* x) {
    if constexpr (simd::has_sub_blocks<type>())
      super_block(y, y_stride, slice, *reinterpret_cast<const Tile256*>(x));
    else
      small_blocks(y, y_stride, slice, blocks, *reinterpret_cast<const Tile32*>(x));
  }

 private:
  struct alignas(32) Sums {
    int32_t at[6][16];
    [[gnu::always_inline]] inline __m256i operator()(size_t row, size_t half) const {
      return _mm256_load_si256(reinterpret_cast<const __m256i*>(&at[row][half]));
    }
  };

  [[gnu::always_inline]] static inline __m256i corrected(__m256i sum, const PanelSlice& slice, size_t b, size_t half) {
    return _mm256_add_epi32(sum, _mm256_load_si256(reinterpret_cast<const __m256i*>(&slice.correction[b][half])));
  }

  /// sums[t][lane] of sub-block (or block of 32) s.
  template <bool add>
  [[gnu::always_inline]] static inline void sub_block(Sums& sums, const PanelSlice& slice, size_t s, const void* scale,
                                                      const int8_t* q) {
    constexpr size_t kSteps = kSub / 4;
    const uint8_t* w = &slice.w[s * kSteps][0][0];
    q += 24 * kSteps * s;
    if constexpr (kSigned) {
      multiply_six_inverted<add>(sums.at, w, &slice.negative[s * kSteps][0][0], q, scale);
    } else {
      constexpr size_t kGroup = static_cast<size_t>(kTraits.pair_sums) < kSteps ? kTraits.pair_sums : kSteps;
      multiply_six<kGroup, add>(sums.at, w, q, scale);
#pragma GCC unroll 2
      for (size_t step = kGroup; step < kSteps; step += kGroup)
        multiply_six<kGroup, true>(sums.at, w + 64 * step, q + 24 * step, scale);
    }
  }

  static void small_blocks(float* y, size_t y_stride, const PanelSlice& slice, size_t blocks, const Tile32& x) {
    alignas(32) static constexpr int16_t kOnes[32] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
                                                      1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
    Sums sums;
    for (size_t b = 0; b < blocks; ++b) {
      sub_block<false>(sums, slice, b, kOnes, x.q[0][0]);
      for (size_t half = 0; half < 16; half += 8) {
        const __m256 d = _mm256_load_ps(&slice.d[b][half]), m = _mm256_load_ps(&slice.m[b][half]);
#pragma GCC unroll 6
        for (size_t r = 0; r < 6; ++r) {
          float* at = y + r * y_stride + half;
          const __m256 dx = _mm256_broadcast_ss(&x.d[b][r]);
          __m256i whole = sums(r, half);
          if constexpr (kSigned) whole = corrected(whole, slice, b, half);
          if constexpr (kTraits.offset != 0 && !kSigned)
            whole = _mm256_sub_epi32(whole, _mm256_set1_epi32(kTraits.offset * x.sums[b][r]));
          __m256 acc = _mm256_fmadd_ps(_mm256_cvtepi32_ps(whole), _mm256_mul_ps(d, dx), _mm256_loadu_ps(at));
          if constexpr (kTraits.minimum != 0)
            acc = _mm256_fmadd_ps(_mm256_cvtepi32_ps(_mm256_set1_epi32(x.sums[b][r])), _mm256_mul_ps(m, dx), acc);
          _mm256_storeu_ps(at, acc);
        }
      }
    }
  }

  static void super_block(float* y, size_t y_stride, const PanelSlice& slice, const Tile256& x) {
    constexpr bool kSecondary = kTraits.minimum != 0 || !kSigned;
    Sums sums, secondary;
    sub_block<false>(sums, slice, 0, slice.scale[0], x.q[0][0]);
    for (size_t s = 1; s < 256 / kSub; ++s) sub_block<true>(sums, slice, s, slice.scale[s], x.q[0][0]);
    if constexpr (kSecondary)
      multiply_six_words<128 / kSub>(secondary.at, slice.secondary[0][0], kSub == 32 ? x.sums32[0][0] : x.sums16[0][0]);
    for (size_t half = 0; half < 16; half += 8) {
      const __m256 d = _mm256_load_ps(&slice.d[0][half]), m = _mm256_load_ps(&slice.m[0][half]);
#pragma GCC unroll 6
      for (size_t r = 0; r < 6; ++r) {
        float* at = y + r * y_stride + half;
        const __m256 dx = _mm256_broadcast_ss(&x.d[r]);
        __m256i whole = sums(r, half);
        if constexpr (kSigned) whole = corrected(whole, slice, 0, half);
        if constexpr (kSecondary && kTraits.minimum == 0) whole = _mm256_sub_epi32(whole, secondary(r, half));
        __m256 acc = _mm256_fmadd_ps(_mm256_cvtepi32_ps(whole), _mm256_mul_ps(d, dx), _mm256_loadu_ps(at));
        if constexpr (kTraits.minimum != 0)
          acc = _mm256_fnmadd_ps(_mm256_cvtepi32_ps(secondary(r, half)), _mm256_mul_ps(m, dx), acc);
        _mm256_storeu_ps(at, acc);
      }
    }
  }
};

}  // namespace
}  // namespace fathom::avx2
