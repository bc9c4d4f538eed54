// Rows of quantised activations as the products of avx512_int8.cc read them: the caller's, or tiles of rows side by
// side (ActivationTiles). Included by avx512_int8.cc alone. Pure functions over the caller's memory, any thread.
#pragma once
#include <immintrin.h>

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "kernels/cpu/avx512.h"
#include "kernels/cpu/simd_int8.h"
#include "kernels/cpu/simd_planes.h"

namespace fathom::avx512 {
namespace {

#define FATHOM_INLINE [[gnu::always_inline]] inline

constexpr size_t kTileRows = kActivationTiles.rows;

/// Four bytes in every dword.
FATHOM_INLINE __m512i broadcast4(const void* p) {
  int bits;
  __builtin_memcpy(&bits, p, 4);
  return _mm512_set1_epi32(bits);
}

/// sum + w . x: w 64 unsigned bytes, x four signed ones. One instruction, where the compiler makes two.
FATHOM_INLINE __m512i add_products4(__m512i sum, __m512i w, const int8_t* x) {
  using Four = int32_t __attribute__((may_alias, aligned(1)));
  asm("vpdpbusd %2%{1to16%}, %1, %0" : "+v"(sum) : "v"(w), "m"(*reinterpret_cast<const Four*>(x)));
  return sum;
}

/// Rows quantised in one block of 256.
struct Tile256 {
  int8_t q[64][kTileRows][4];       ///< [k / 4][row][k % 4]
  int32_t starts[16][kTileRows];    ///< -32 times the sum of q over a sub-block of 16
  int16_t sums16[8][kTileRows][2];  ///< the sums, of sub-blocks 2 j and 2 j + 1
  int16_t sums32[4][kTileRows][2];  ///< ... of sub-blocks of 32
  float d[kTileRows];
};
/// ... in eight blocks of 32.
struct Tile32 {
  int8_t q[64][kTileRows][4];
  int32_t starts[8][kTileRows];  ///< [block][row], -128 times the sum of q
  float sums[8][kTileRows];
  float d[8][kTileRows];
};
static_assert(sizeof(Tile256) <= kActivationTiles.bytes && sizeof(Tile32) <= kActivationTiles.bytes);

/// The first slice of tile j, whose others follow it.
template <class Tile, class Byte>
inline auto* tile_at(Byte* tiles, size_t j, size_t K) {
  using T = std::conditional_t<std::is_const_v<Byte>, const Tile, Tile>;
  return reinterpret_cast<T*>(tiles + j * ActivationTiles::slices(K) * kActivationTiles.bytes);
}

/// Rows [row, row + kTileRows) of x from value k on, with n values of each.
inline void fill_codes(int8_t (&q)[64][kTileRows][4], const int8_t* x, size_t n, size_t K) {
  for (size_t r = 0; r < kTileRows; ++r)
    for (size_t i = 0; i < n; i += 4) std::memcpy(q[i / 4][r], x + r * K + i, 4);
}
inline void fill_tile(Tile256& out, const QuantizedRows& x, size_t row, size_t k, size_t K) {
  fill_codes(out.q, x.q + row * K + k, 256, K);
  for (size_t r = 0; r < kTileRows; ++r, ++row) {
    const int16_t* sums = x.sums + (row * K + k) / 16;
    for (size_t s = 0; s < 16; ++s) {
      out.starts[s][r] = -32 * sums[s];
      out.sums16[s / 2][r][s % 2] = sums[s];
    }
    for (size_t s = 0; s < 8; ++s) out.sums32[s / 2][r][s % 2] = static_cast<int16_t>(sums[2 * s] + sums[2 * s + 1]);
    out.d[r] = x.d[(row * K + k) / 256];
  }
}
inline void fill_tile(Tile32& out, const QuantizedRows& x, size_t row, size_t k, size_t K) {
  const size_t n = K - k < 256 ? K - k : 256;
  fill_codes(out.q, x.q + row * K + k, n, K);
  for (size_t r = 0; r < kTileRows; ++r, ++row) {
    const int16_t* sums = x.sums + (row * K + k) / 16;
    for (size_t b = 0; b < n / 32; ++b) {
      const int sum = sums[2 * b] + sums[2 * b + 1];
      out.starts[b][r] = -128 * sum;
      out.sums[b][r] = static_cast<float>(sum);
      out.d[b][r] = x.d[(row * K + k) / 32 + b];
    }
  }
}
template <class Tile>
void fill_with(std::byte* to, const QuantizedRows& x, size_t begin, size_t end, size_t K) {
  for (size_t j = begin; j < end; ++j) {
    Tile* tile = tile_at<Tile>(to, j, K);
    for (size_t k = 0; k < K; k += ActivationTiles::kSlice) fill_tile(*tile++, x, kTileRows * j, k, K);
  }
}

/// The rows of a tile.
template <DType type>
struct TileRows {
  using Tile = std::conditional_t<simd::has_sub_blocks<type>(), Tile256, Tile32>;
  const Tile& x;

  static constexpr simd::Int8Traits kTraits = simd::int8_traits<type>();

  /// Values 32 g + 4 step .. + 3 of row r.
  FATHOM_INLINE const int8_t* codes(int r, size_t g, int step) const {
    return x.q[8 * g + static_cast<size_t>(step)][r];
  }
  /// -offset times the sum of q over sub-block (or block of 32) s.
  FATHOM_INLINE __m512i start(int r, size_t s) const {
    constexpr int kOffset = kTraits.offset, kStored = simd::has_sub_blocks<type>() ? 32 : 128;
    static_assert(kStored % kOffset == 0 || kOffset == 12 || kOffset == 4 * kStored);
    if constexpr (simd::has_sub_blocks<type>() && kTraits.sub_block == 32) {
      static_assert(kOffset == 4 * kStored);
      return _mm512_slli_epi32(_mm512_add_epi32(broadcast4(&x.starts[2 * s][r]), broadcast4(&x.starts[2 * s + 1][r])),
                               2);
    } else if constexpr (kOffset == 12) {
      const __m512i stored = broadcast4(&x.starts[s][r]);
      return _mm512_add_epi32(_mm512_srai_epi32(stored, 4), _mm512_srai_epi32(stored, 5));
    } else {
      return _mm512_srai_epi32(broadcast4(&x.starts[s][r]), std::countr_zero(unsigned{kStored / kOffset}));
    }
  }
  FATHOM_INLINE __m512 d(int r, size_t b) const {
    if constexpr (simd::has_sub_blocks<type>())
      return _mm512_set1_ps(x.d[r]);
    else
      return _mm512_set1_ps(x.d[b][r]);
  }
  /// Sums of q over sub-blocks 2 j (low int16) and 2 j + 1.
  FATHOM_INLINE __m512i two_sums(int r, size_t j) const {
    if constexpr (kTraits.sub_block == 16)
      return broadcast4(x.sums16[j][r]);
    else
      return broadcast4(x.sums32[j][r]);
  }
  /// Sum of q over block of 32 b.
  FATHOM_INLINE __m512 sum(int r, size_t b) const { return _mm512_set1_ps(x.sums[b][r]); }
};

/// R rows of the caller's at up to 256 values of k.
template <DType type, int R>
struct PlainRows {
  static constexpr simd::Int8Traits kTraits = simd::int8_traits<type>();

  FATHOM_INLINE PlainRows(const simd::Activations& rows, size_t values) : x_(rows) {
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) sum_up(of_[r], x_.sums + static_cast<size_t>(r) * x_.sums_stride, values);
  }
  FATHOM_INLINE const int8_t* codes(int r, size_t g, int step) const {
    return x_.q + static_cast<size_t>(r) * x_.q_stride + 32 * g + 4 * static_cast<size_t>(step);
  }
  FATHOM_INLINE __m512 d(int r, size_t b) const {
    return _mm512_set1_ps(x_.d[static_cast<size_t>(r) * x_.d_stride + b]);
  }
  /// -offset times the sum of q over sub-block (or block of 32) s.
  FATHOM_INLINE __m512i start(int r, size_t s) const { return broadcast4(&of_[r][s]); }
  FATHOM_INLINE __m512i two_sums(int r, size_t j) const { return broadcast4(&of_[r][j]); }
  FATHOM_INLINE __m512 sum(int r, size_t b) const { return _mm512_castsi512_ps(broadcast4(&of_[r][b])); }

 private:
  simd::Activations x_;
  alignas(64) int32_t of_[R][16];  ///< by type: what start(), two_sums() or sum() give

  FATHOM_INLINE static void sum_up(int32_t (&out)[16], const int16_t* sums, size_t values) {
    const auto there = static_cast<__mmask16>((uint32_t{1} << values / 16) - 1);  // no more than the row's own
    const __m256i of16 = _mm256_maskz_loadu_epi16(there, sums);
    auto* to = reinterpret_cast<__m256i*>(out);
    if constexpr (kTraits.sub_block == 16 && kTraits.minimum == 0) {
      const __m512i starts = _mm512_mullo_epi32(_mm512_cvtepi16_epi32(of16), _mm512_set1_epi32(-kTraits.offset));
      _mm512_store_si512(out, starts);
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
};

#undef FATHOM_INLINE

}  // namespace
}  // namespace fathom::avx512
