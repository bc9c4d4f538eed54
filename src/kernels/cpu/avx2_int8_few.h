// Products of int8 with few rows of activations, straight from the packed groups: one linear stream of weights, fetched
// ahead. Everything but the place in the stream is known to the compiler, so that a step is a handful of instructions.
// Included by avx2_int8.cc alone. Pure functions.
#pragma once
#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "kernels/cpu/simd_avx2.h"
#include "kernels/cpu/simd_int8.h"
#include "kernels/cpu/simd_unpack.h"

namespace fathom::avx2 {
namespace {

/// Four bytes in every dword.
[[gnu::always_inline]] inline __m256i broadcast4(const void* p) {
  int bits;
  __builtin_memcpy(&bits, p, 4);
  return _mm256_set1_epi32(bits);
}

/// Orders of 16 bytes, in both lanes, that make of the bytes of 8 rows pairs of equal int16 (unsigned), or of twice as
/// many halves that are to be shifted down (signed).
struct Twins {
  alignas(32) int8_t order[2][2][32];  // [unsigned, signed][half of the panel]
};
consteval Twins twins() {
  Twins t{};
  for (int half = 0; half < 2; ++half)
    for (int i = 0; i < 32; ++i) {
      const auto row = static_cast<int8_t>(8 * half + i / 4);
      t.order[0][half][i] = i % 2 == 0 ? row : int8_t{-128};
      t.order[1][half][i] = i % 2 == 1 ? row : int8_t{-128};
    }
  return t;
}
constexpr Twins kTwins = twins();

/// How far ahead of itself a product fetches, as measured from memory (docs/performance.md); types with high bits while
/// these still lay behind all codes of a block of 256.
template <DType type>
consteval size_t bytes_ahead(int rows) {
  if (rows > 2 || type == DType::kIQ4_NL || type == DType::kIQ4_XS) return 3072;
  if (simd::has_sub_blocks<type>() && simd::planes<type>().high_bits != 0) return 3072;
  return type == DType::kQ8_0 ? 768 : 1280;
}

/// R rows of activations times H halves (8 rows each) of a panel, from half kFirst on.
template <DType type, int R, int H, int kFirst>
struct Few {
  using Unpack = simd::Unpack<Simd>;
  static constexpr simd::Int8Traits kTraits = simd::int8_traits<type>();
  static constexpr simd::Planes kAt = simd::planes<type>();
  static constexpr bool kSubs = simd::has_sub_blocks<type>();
  static constexpr size_t kRows = 8 * kFirst;
  static constexpr int kSteps = kTraits.sub_block / 4;
  static constexpr int kGroup = kTraits.pair_sums < kSteps ? kTraits.pair_sums : kSteps;
  static constexpr size_t kAhead = bytes_ahead<type>(R);
  using Sums = __m256i[H][R];
  using Chains = __m256 (&)[H][R];

  /// acc continued over `blocks` groups.
  [[gnu::always_inline]] static inline void run(Chains acc, const uint8_t* group, size_t blocks, simd::Activations x) {
    for (size_t b = 0; b < blocks; ++b, group += kAt.bytes, ++x.d) {
      if constexpr (kSubs)
        super_block(acc, group, x);
      else
        block(acc, group, x);
      x.q += kAt.values;
      x.sums += kAt.values / 16;
    }
  }

 private:
  [[gnu::always_inline]] static inline void zero(Sums& sums) {
#pragma GCC unroll 2
    for (int h = 0; h < H; ++h)
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) sums[h][r] = _mm256_setzero_si256();
  }

  template <size_t lines>
  [[gnu::always_inline]] static inline void fetch(const uint8_t* p) {
#pragma GCC unroll 16
    for (size_t i = 0; i < lines; ++i) _mm_prefetch(p + kAhead + 64 * i, _MM_HINT_T0);
  }

  /// sums += scale * bytes . q over the sub-block that begins with step `begin` of a group of 32 values.
  template <int begin>
  [[gnu::always_inline]] static inline void sub_block(Sums& sums, const uint8_t* codes, const __m256i (&scale)[H],
                                                      const simd::Activations& x, size_t k) {
#pragma GCC unroll 8
    for (int step = begin; step < begin + kSteps; step += kGroup) {
      __m256i pairs[H][R];
#pragma GCC unroll 8
      for (int j = 0; j < kGroup; ++j) {
        __m256i w[H];
#pragma GCC unroll 2
        for (int h = 0; h < H; ++h)
          w[h] = Unpack::template bytes8<type, true>(codes, step + j, kRows + 8 * static_cast<size_t>(h));
#pragma GCC unroll 8
        for (int r = 0; r < R; ++r) {
          const __m256i q =
              broadcast4(x.q + static_cast<size_t>(r) * x.q_stride + k + 4 * static_cast<size_t>(step + j));
#pragma GCC unroll 2
          for (int h = 0; h < H; ++h) {
            const __m256i products = kTraits.offset == 128
                                         ? _mm256_maddubs_epi16(_mm256_abs_epi8(w[h]), _mm256_sign_epi8(q, w[h]))
                                         : _mm256_maddubs_epi16(w[h], q);
            pairs[h][r] = j == 0 ? products : _mm256_add_epi16(pairs[h][r], products);
          }
        }
      }
#pragma GCC unroll 2
      for (int h = 0; h < H; ++h)
#pragma GCC unroll 8
        for (int r = 0; r < R; ++r) sums[h][r] = _mm256_add_epi32(sums[h][r], _mm256_madd_epi16(pairs[h][r], scale[h]));
    }
  }

  [[gnu::always_inline]] static inline void block(Chains acc, const uint8_t* group, const simd::Activations& x) {
    fetch<kAt.bytes / 64 + 1>(group);
    __m256i one[H];
    for (int h = 0; h < H; ++h) one[h] = _mm256_set1_epi16(1);
    Sums sums;
    zero(sums);
    sub_block<0>(sums, group + kAt.codes, one, x, 0);
#pragma GCC unroll 2
    for (int h = 0; h < H; ++h) {
      const size_t at = kRows + 8 * static_cast<size_t>(h);
      const __m256 d = Unpack::template d8<type>(group, at);
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) {
        const int16_t* s = x.sums + static_cast<size_t>(r) * x.sums_stride;
        const __m256 dx = _mm256_broadcast_ss(x.d + static_cast<size_t>(r) * x.d_stride);
        if constexpr (kTraits.offset != 0 && kTraits.offset != 128)
          sums[h][r] = _mm256_sub_epi32(sums[h][r], _mm256_set1_epi32(kTraits.offset * (s[0] + s[1])));
        acc[h][r] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sums[h][r]), _mm256_mul_ps(d, dx), acc[h][r]);
        if constexpr (kTraits.minimum != 0)
          acc[h][r] = _mm256_fmadd_ps(_mm256_set1_ps(static_cast<float>(s[0] + s[1])),
                                      _mm256_mul_ps(Unpack::template m8<type>(group, at), dx), acc[h][r]);
      }
    }
  }

  /// A sub-block's scales, each twice as int16.
  [[gnu::always_inline]] static inline void twin_scales(__m256i (&scale)[H], const uint8_t* bytes) {
    __m256i all = _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes)));
    if constexpr (type == DType::kQ2_K) all = _mm256_and_si256(all, _mm256_set1_epi8(15));
#pragma GCC unroll 2
    for (int h = 0; h < H; ++h) {
      // Numbers with minima are small and not negative: their upper bytes are zero.
      constexpr bool kUnsigned = kTraits.minimum != 0;
      const int8_t* order = kTwins.order[kUnsigned ? 0 : 1][kFirst + h];
      scale[h] = _mm256_shuffle_epi8(all, _mm256_load_si256(reinterpret_cast<const __m256i*>(order)));
      if constexpr (!kUnsigned) scale[h] = _mm256_srai_epi16(scale[h], 8);
    }
  }

  /// Sums over k of the minima, or of scales, times q.
  [[gnu::always_inline]] static inline void secondary_sums(Sums& sums, const uint8_t* group,
                                                           const simd::Activations& x) {
    constexpr bool k32 = kTraits.sub_block == 32;  // q summed over 32 values, else over 16; two sums at a time
    alignas(16) int16_t q[R][8];
#pragma GCC unroll 8
    for (int r = 0; k32 && r < R; ++r) {
      const auto* q16 = reinterpret_cast<const __m256i*>(x.sums + static_cast<size_t>(r) * x.sums_stride);
      const __m256i s = _mm256_madd_epi16(_mm256_loadu_si256(q16), _mm256_set1_epi16(1));
      _mm_store_si128(reinterpret_cast<__m128i*>(q[r]),
                      _mm_packs_epi32(_mm256_castsi256_si128(s), _mm256_extracti128_si256(s, 1)));
    }
    zero(sums);
#pragma GCC unroll 8
    for (size_t g = 0; g < (k32 ? 4 : 8); ++g) {
#pragma GCC unroll 2
      for (int h = 0; h < H; ++h) {
        const size_t rows = kRows + 8 * static_cast<size_t>(h);
        __m256i c;
        if constexpr (k32)
          c = Unpack::template two_minima8<type>(group, g, rows);
        else
          c = Unpack::template two_numbers8<type>(group, g, rows);
#pragma GCC unroll 8
        for (int r = 0; r < R; ++r) {
          const int16_t* two = k32 ? &q[r][2 * g] : x.sums + static_cast<size_t>(r) * x.sums_stride + 2 * g;
          sums[h][r] = _mm256_add_epi32(sums[h][r], _mm256_madd_epi16(c, broadcast4(two)));
        }
      }
    }
  }

  [[gnu::always_inline]] static inline void super_block(Chains acc, const uint8_t* group, const simd::Activations& x) {
    constexpr size_t kPerGroup = 32 / static_cast<size_t>(kTraits.sub_block), kLines = kAt.bytes / 64 / 8 + 1;
    Sums sums;
    zero(sums);
    const uint8_t *codes = group + kAt.codes, *scales = group + kAt.scales;
    for (size_t k = 0; k < 256; k += 32) {
      fetch<kLines>(group + 2 * k * kLines);
      __m256i scale[H];
      twin_scales(scale, scales);
      sub_block<0>(sums, codes, scale, x, k);
      if constexpr (kPerGroup == 2) {
        twin_scales(scale, scales + 16);
        sub_block<4>(sums, codes, scale, x, k);
      }
      scales += 16 * kPerGroup;
      codes += kAt.stride32;
    }
    constexpr bool kSecondary = kTraits.minimum != 0 || kTraits.offset != 128;
    Sums secondary;
    if constexpr (kSecondary) secondary_sums(secondary, group, x);
#pragma GCC unroll 2
    for (int h = 0; h < H; ++h) {
      const size_t at = kRows + 8 * static_cast<size_t>(h);
      const __m256 d = Unpack::template d8<type>(group, at);
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) {
        const __m256 dx = _mm256_broadcast_ss(x.d + static_cast<size_t>(r) * x.d_stride);
        if constexpr (kSecondary && kTraits.minimum == 0)
          sums[h][r] =
              _mm256_sub_epi32(sums[h][r], _mm256_mullo_epi32(secondary[h][r], _mm256_set1_epi32(kTraits.offset)));
        acc[h][r] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sums[h][r]), _mm256_mul_ps(d, dx), acc[h][r]);
        if constexpr (kTraits.minimum != 0)
          acc[h][r] = _mm256_fnmadd_ps(_mm256_cvtepi32_ps(secondary[h][r]),
                                       _mm256_mul_ps(Unpack::template m8<type>(group, at), dx), acc[h][r]);
      }
    }
  }
};

/// R rows of one panel's outputs over all of K. Two rows at most keep the sums of the whole panel in registers.
template <DType type, int R>
inline void few_rows(float* y, size_t y_stride, size_t rows, const uint8_t* groups, size_t blocks,
                     const simd::Activations& x) {
  constexpr int H = R <= 2 ? 2 : 1;
  __m256 acc[2 / H][H][R];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) acc[0][0][r] = acc[2 / H - 1][H - 1][r] = _mm256_setzero_ps();
  if constexpr (H == 2) {
    Few<type, R, 2, 0>::run(acc[0], groups, blocks, x);
  } else {
    constexpr size_t kBytes = simd::planes<type>().bytes, kValues = simd::planes<type>().values;
    simd::Activations at = x;
    for (size_t b = 0; b < blocks; ++b, groups += kBytes, at.q += kValues, ++at.d, at.sums += kValues / 16) {
      Few<type, R, 1, 0>::run(acc[0], groups, 1, at);
      Few<type, R, 1, 1>::run(acc[1], groups, 1, at);
    }
  }
  for (size_t half = 0; half < rows; half += 8) {
    const __m256i mask = Simd::lanes(rows, static_cast<int>(half));
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r)
      _mm256_maskstore_ps(y + static_cast<size_t>(r) * y_stride + half, mask, acc[half / 8 / H][half / 8 % H][r]);
  }
}

}  // namespace
}  // namespace fathom::avx2
