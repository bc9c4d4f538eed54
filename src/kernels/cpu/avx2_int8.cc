// linear_int8 with vpmaddubsw: unsigned weight bytes times signed activations. Pair sums stay in int16 as long as the
// type allows (simd_unpack.h), then one vpmaddwd widens them and multiplies by the integer scale of the sub-block.
// Sums inside a block are exact integers in any order, so this order is free (spec/numerics.md 3).
#include "kernels/cpu/avx2.h"
#include "kernels/cpu/avx2_int8_few.h"
#include "kernels/cpu/avx2_tiles.h"
#include "kernels/cpu/simd_avx2.h"
#include "kernels/cpu/simd_int8.h"
#include "kernels/cpu/simd_unpack.h"

namespace fathom::avx2 {
namespace {

using simd::Activations;
using simd::has_sub_blocks;
using simd::int8_traits;
using simd::Int8Traits;

/// Where a tile's weights come from: a slice that was unpacked before, for many rows of activations.
template <DType type>
struct FromSlice {
  const Slice<type>& slice;

  [[gnu::always_inline]] static inline __m256i load(const void* p) {
    return _mm256_load_si256(static_cast<const __m256i*>(p));
  }
  /// Of the 8 rows at `half`: the bytes of 4 values at step `step` of sub-block (or block of 32) s, and so on.
  [[gnu::always_inline]] inline __m256i codes(size_t s, int step, size_t half) const {
    constexpr size_t kSteps = static_cast<size_t>(int8_traits<type>().sub_block / 4);
    return load(&slice.w[s * kSteps + static_cast<size_t>(step)][half][0]);
  }
  /// Signed types: the bits of an activation to be inverted, and what that takes from the sum (avx2_tiles.h).
  [[gnu::always_inline]] inline __m256i negative(size_t s, int step, size_t half) const {
    return load(&slice.negative[8 * s + static_cast<size_t>(step)][half][0]);
  }
  [[gnu::always_inline]] inline __m256i correction(size_t b, size_t half) const {
    return load(&slice.correction[b][half]);
  }
  [[gnu::always_inline]] inline __m256i scale(size_t s, size_t half) const { return load(&slice.scale[s][half]); }
  [[gnu::always_inline]] inline __m256i secondary(size_t g, size_t half) const {
    return load(&slice.secondary[g][half][0]);
  }
  [[gnu::always_inline]] inline __m256 d(size_t b, size_t half) const { return _mm256_load_ps(&slice.d[b][half]); }
  [[gnu::always_inline]] inline __m256 m(size_t b, size_t half) const { return _mm256_load_ps(&slice.m[b][half]); }
};

/// Sums over k of the minima, or of offset * scale, times q, for the 8 rows at `half` of a block of 256.
template <DType type, int R>
[[gnu::always_inline]] inline void secondary_sums(__m256i (&sums)[R], const FromSlice<type>& from, size_t half,
                                                  const Activations& x) {
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) sums[r] = _mm256_setzero_si256();
  if constexpr (int8_traits<type>().sub_block == 32) {  // q summed over 32 values, two of these sums at a time
    alignas(16) int16_t q32[R][8];
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      const auto* q16 = reinterpret_cast<const __m256i*>(x.sums + static_cast<size_t>(r) * x.sums_stride);
      const __m256i s = _mm256_madd_epi16(_mm256_loadu_si256(q16), _mm256_set1_epi16(1));
      _mm_store_si128(reinterpret_cast<__m128i*>(q32[r]),
                      _mm_packs_epi32(_mm256_castsi256_si128(s), _mm256_extracti128_si256(s, 1)));
    }
    for (size_t g = 0; g < 4; ++g) {
      const __m256i minima = from.secondary(g, half);
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r)
        sums[r] = _mm256_add_epi32(sums[r], _mm256_madd_epi16(minima, broadcast4(&q32[r][2 * g])));
    }
  } else {
    for (size_t g = 0; g < 8; ++g) {
      const __m256i c = from.secondary(g, half);
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) {
        const __m256i pair = broadcast4(x.sums + static_cast<size_t>(r) * x.sums_stride + 2 * g);
        sums[r] = _mm256_add_epi32(sums[r], _mm256_madd_epi16(c, pair));
      }
    }
  }
}

/// sums[r] += scale * bytes . q over sub-block s, lanes over the 8 rows at `half`.
template <DType type, int R>
[[gnu::always_inline]] inline void add_sub_block(__m256i (&sums)[R], const FromSlice<type>& from, size_t s, size_t half,
                                                 __m256i scale, const int8_t* q, size_t q_stride) {
  constexpr Int8Traits kTraits = int8_traits<type>();
  constexpr int kSteps = kTraits.sub_block / 4, kGroup = kTraits.pair_sums < kSteps ? kTraits.pair_sums : kSteps;
#pragma GCC unroll 8
  for (int step = 0; step < kSteps; step += kGroup) {
    __m256i pairs[R];
#pragma GCC unroll 8
    for (int j = 0; j < kGroup; ++j) {
      const __m256i weights = from.codes(s, step + j, half);
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) {
        __m256i x = broadcast4(q + static_cast<size_t>(r) * q_stride + 4 * static_cast<size_t>(step + j));
        if constexpr (kTraits.offset == 128) x = _mm256_xor_si256(x, from.negative(s, step + j, half));
        const __m256i products = _mm256_maddubs_epi16(weights, x);
        pairs[r] = j == 0 ? products : _mm256_add_epi16(pairs[r], products);
      }
    }
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) sums[r] = _mm256_add_epi32(sums[r], _mm256_madd_epi16(pairs[r], scale));
  }
}

/// A tile's chains for the 8 rows at `half` over blocks of 32.
template <DType type, int R>
[[gnu::always_inline]] inline void continue_blocks(__m256 (&acc)[R], const FromSlice<type>& from, size_t blocks,
                                                   size_t half, const Activations& x) {
  constexpr Int8Traits kTraits = int8_traits<type>();
  const __m256i one = _mm256_set1_epi16(1);
  for (size_t b = 0; b < blocks; ++b) {
    __m256i sums[R];
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) sums[r] = _mm256_setzero_si256();
    add_sub_block<type, R>(sums, from, b, half, one, x.q + 32 * b, x.q_stride);
    const __m256 d = from.d(b, half);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      const size_t row = static_cast<size_t>(r);
      const int16_t* s = x.sums + row * x.sums_stride + 2 * b;
      const __m256 dx = _mm256_broadcast_ss(x.d + row * x.d_stride + b);
      if constexpr (kTraits.offset == 128) sums[r] = _mm256_add_epi32(sums[r], from.correction(b, half));
      if constexpr (kTraits.offset != 0 && kTraits.offset != 128)
        sums[r] = _mm256_sub_epi32(sums[r], _mm256_set1_epi32(kTraits.offset * (s[0] + s[1])));
      acc[r] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sums[r]), _mm256_mul_ps(d, dx), acc[r]);
      if constexpr (kTraits.minimum != 0)
        acc[r] = _mm256_fmadd_ps(_mm256_set1_ps(static_cast<float>(s[0] + s[1])), _mm256_mul_ps(from.m(b, half), dx),
                                 acc[r]);
    }
  }
}

/// The same over one block of 256 with integer scales inside.
template <DType type, int R>
[[gnu::always_inline]] inline void continue_super_block(__m256 (&acc)[R], const FromSlice<type>& from, size_t half,
                                                        const Activations& x) {
  constexpr Int8Traits kTraits = int8_traits<type>();
  constexpr size_t kSub = kTraits.sub_block;
  constexpr bool kSecondary = kTraits.minimum != 0 || kTraits.offset != 128;
  __m256i sums[R], secondary[R];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) sums[r] = _mm256_setzero_si256();
  for (size_t s = 0; s < 256 / kSub; ++s)
    add_sub_block<type, R>(sums, from, s, half, from.scale(s, half), x.q + s * kSub, x.q_stride);
  if constexpr (kSecondary) secondary_sums<type, R>(secondary, from, half, x);
  const __m256 d = from.d(0, half);
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
    const __m256 dx = _mm256_broadcast_ss(x.d + static_cast<size_t>(r) * x.d_stride);
    if constexpr (!kSecondary) sums[r] = _mm256_add_epi32(sums[r], from.correction(0, half));
    if constexpr (kSecondary && kTraits.minimum == 0) sums[r] = _mm256_sub_epi32(sums[r], secondary[r]);
    acc[r] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sums[r]), _mm256_mul_ps(d, dx), acc[r]);
    if constexpr (kTraits.minimum != 0)
      acc[r] = _mm256_fnmadd_ps(_mm256_cvtepi32_ps(secondary[r]), _mm256_mul_ps(from.m(0, half), dx), acc[r]);
  }
}

struct Int8Kernel {
  using Simd = avx2::Simd;
  static constexpr ActivationTiles kTiles = kActivationTiles;
  static constexpr size_t kPanels = 4;
  static constexpr int kRows = 3;  ///< of rows that are in no whole tile
  static constexpr int kDirectRows = 16, kDirectTile = 4;
  template <DType type>
  using Slice = avx2::Slice<type>;

  template <DType type>
  static void unpack(Slice<type>& slice, const uint8_t* groups, size_t blocks) {
    simd::Unpack<Simd>::slice<type, true>(slice, groups, blocks);
    if constexpr (int8_traits<type>().offset == 128) split_signs<has_sub_blocks<type>()>(slice, blocks);
  }

  /// R rows of one panel's outputs over one slice.
  template <DType type, int R>
  static void tile(float* y, size_t y_stride, size_t rows, const Slice<type>& slice, size_t blocks,
                   const Activations& x, bool first) {
    for (size_t half = 0; half < rows; half += 8) {
      const __m256i mask = Simd::lanes(rows, static_cast<int>(half));
      __m256 acc[R];
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r)
        acc[r] = first ? _mm256_setzero_ps() : _mm256_maskload_ps(y + static_cast<size_t>(r) * y_stride + half, mask);
      if constexpr (has_sub_blocks<type>())
        continue_super_block<type, R>(acc, FromSlice<type>{slice}, half, x);
      else
        continue_blocks<type, R>(acc, FromSlice<type>{slice}, blocks, half, x);
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) _mm256_maskstore_ps(y + static_cast<size_t>(r) * y_stride + half, mask, acc[r]);
    }
  }

  /// Six rows of one panel's outputs over one slice.
  template <DType type>
  static void whole_tile(float* y, size_t y_stride, size_t rows, const Slice<type>& slice, size_t blocks,
                         const std::byte* x, bool first) {
    if (first)
      for (size_t r = 0; r < 6; ++r) __builtin_memset(y + r * y_stride, 0, 4 * rows);
    if (rows == 16) return SixRows<type>::multiply(y, y_stride, slice, blocks, x);
    float whole[6][16] = {};
    for (size_t r = 0; r < 6; ++r) __builtin_memcpy(whole[r], y + r * y_stride, 4 * rows);
    SixRows<type>::multiply(whole[0], 16, slice, blocks, x);
    for (size_t r = 0; r < 6; ++r) __builtin_memcpy(y + r * y_stride, whole[r], 4 * rows);
  }

  template <DType type, int R>
  static void direct(float* y, size_t y_stride, size_t rows, const uint8_t* groups, size_t blocks,
                     const Activations& x) {
    few_rows<type, R>(y, y_stride, rows, groups, blocks, x);
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

}  // namespace fathom::avx2
