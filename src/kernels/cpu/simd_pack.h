// Packs 16 rows of quantised blocks as the file has them into groups (kernels/packed.h), with AVX2. Included by
// avx2_pack.cc alone. Pure functions over the caller's memory, any thread.
#pragma once
#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "kernels/cpu/simd_blocks.h"

namespace fathom::simd {

template <class S>
struct Pack {
  /// One group from the blocks of 16 rows, row_bytes apart.
  template <DType type>
  static void group(uint8_t* out, const uint8_t* src, size_t row_bytes) {
    constexpr Planes kAt = planes<type>();
    Blocks<S>::template factors<type>(out, src, row_bytes);
    if constexpr (has_sub_blocks<type>()) scales<type>(out + kAt.scales, src, row_bytes);
    for (size_t g = 0; g < kAt.values / 32; ++g) {
      alignas(64) uint8_t steps[8 * 64];
      for (size_t r = 0; r < 16; r += 8)
        interleave<type>(steps + 4 * r, src + r * row_bytes, row_bytes, static_cast<int>(g));
      plane<kAt.code_bits, 0>(out + kAt.codes + g * kAt.stride32, steps);
      if constexpr (kAt.high_bits != 0) plane<kAt.high_bits, kAt.code_bits>(out + kAt.high + g * kAt.stride32, steps);
    }
  }

 private:
  static constexpr auto kLow4 = 15;

  [[gnu::always_inline]] static inline __m256i bytes32(const uint8_t* p) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  }
  /// (v >> shift) & mask in every byte; the shift is the same for all.
  [[gnu::always_inline]] static inline __m256i field(__m256i v, int shift, int mask) {
    return _mm256_and_si256(_mm256_srl_epi16(v, _mm_cvtsi32_si128(shift)), _mm256_set1_epi8(static_cast<char>(mask)));
  }
  /// 16 bytes: the low nibbles, then the high ones.
  [[gnu::always_inline]] static inline __m256i nibbles(const uint8_t* p) {
    const __m128i v = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    const __m256i both = _mm256_inserti128_si256(_mm256_castsi128_si256(v), _mm_srli_epi16(v, 4), 1);
    return _mm256_and_si256(both, _mm256_set1_epi8(kLow4));
  }
  /// Bit i of the 32 as 16 in byte i.
  [[gnu::always_inline]] static inline __m256i fifth_bits(const uint8_t* p) {
    const __m256i which = _mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202, 0x0303030303030303);
    const __m256i bit = _mm256_set1_epi64x(static_cast<int64_t>(0x8040201008040201u));
    const __m256i spread = _mm256_shuffle_epi8(_mm256_set1_epi32(static_cast<int>(Blocks<S>::u32(p))), which);
    const __m256i set = _mm256_cmpeq_epi8(_mm256_and_si256(spread, bit), bit);
    return _mm256_and_si256(set, _mm256_set1_epi8(16));
  }
  /// Values 32 g .. 32 g + 31 of one block as codes in bytes (spec/gguf.md 4).
  template <DType type>
  [[gnu::always_inline]] static inline __m256i load32(const uint8_t* b, int g) {
    if constexpr (type == DType::kQ4_0) {
      return nibbles(b + 2);
    } else if constexpr (type == DType::kQ4_1) {
      return nibbles(b + 4);
    } else if constexpr (type == DType::kQ5_0) {
      return _mm256_or_si256(nibbles(b + 6), fifth_bits(b + 2));
    } else if constexpr (type == DType::kQ5_1) {
      return _mm256_or_si256(nibbles(b + 8), fifth_bits(b + 4));
    } else if constexpr (type == DType::kQ8_0) {
      return bytes32(b + 2);
    } else if constexpr (type == DType::kIQ4_NL) {
      return nibbles(b + 2);
    } else if constexpr (type == DType::kMXFP4) {
      return nibbles(b + 1);
    } else if constexpr (type == DType::kQ2_K) {
      return field(bytes32(b + 16 + g / 4 * 32), g % 4 * 2, 3);
    } else if constexpr (type == DType::kQ3_K) {
      const __m256i low = field(bytes32(b + 32 + g / 4 * 32), g % 4 * 2, 3);
      return _mm256_or_si256(low, _mm256_slli_epi16(field(bytes32(b), g, 1), 2));
    } else if constexpr (type == DType::kQ4_K) {
      return field(bytes32(b + 16 + g / 2 * 32), g % 2 * 4, kLow4);
    } else if constexpr (type == DType::kQ5_K) {
      const __m256i low = field(bytes32(b + 48 + g / 2 * 32), g % 2 * 4, kLow4);
      return _mm256_or_si256(low, _mm256_slli_epi16(field(bytes32(b + 16), g, 1), 4));
    } else if constexpr (type == DType::kQ6_K) {
      const __m256i low = field(bytes32(b + 64 * (g / 4) + g % 2 * 32), g % 4 / 2 * 4, kLow4);
      return _mm256_or_si256(low, _mm256_slli_epi16(field(bytes32(b + 128 + 32 * (g / 4)), g % 4 * 2, 3), 4));
    } else {
      return nibbles(b + 8 + 16 * g);  // IQ4_XS
    }
  }

  /// Eight rows' group of 32 bytes to [8 steps of 4 values][row], rows 64 bytes apart at out: a transpose of dwords.
  template <DType type>
  [[gnu::always_inline]] static inline void interleave(uint8_t* out, const uint8_t* src, size_t stride, int g) {
    const __m256i r0 = load32<type>(src, g), r1 = load32<type>(src + stride, g);
    const __m256i r2 = load32<type>(src + 2 * stride, g), r3 = load32<type>(src + 3 * stride, g);
    const __m256i r4 = load32<type>(src + 4 * stride, g), r5 = load32<type>(src + 5 * stride, g);
    const __m256i r6 = load32<type>(src + 6 * stride, g), r7 = load32<type>(src + 7 * stride, g);
    const __m256i a0 = _mm256_unpacklo_epi32(r0, r1), a1 = _mm256_unpackhi_epi32(r0, r1);
    const __m256i a2 = _mm256_unpacklo_epi32(r2, r3), a3 = _mm256_unpackhi_epi32(r2, r3);
    const __m256i a4 = _mm256_unpacklo_epi32(r4, r5), a5 = _mm256_unpackhi_epi32(r4, r5);
    const __m256i a6 = _mm256_unpacklo_epi32(r6, r7), a7 = _mm256_unpackhi_epi32(r6, r7);
    store_steps(out, 0, _mm256_unpacklo_epi64(a0, a2), _mm256_unpacklo_epi64(a4, a6));
    store_steps(out, 1, _mm256_unpackhi_epi64(a0, a2), _mm256_unpackhi_epi64(a4, a6));
    store_steps(out, 2, _mm256_unpacklo_epi64(a1, a3), _mm256_unpacklo_epi64(a5, a7));
    store_steps(out, 3, _mm256_unpackhi_epi64(a1, a3), _mm256_unpackhi_epi64(a5, a7));
  }
  /// first holds steps j and j + 4 of rows 0 to 3, second of rows 4 to 7.
  [[gnu::always_inline]] static inline void store_steps(uint8_t* out, size_t j, __m256i first, __m256i second) {
    _mm256_store_si256(reinterpret_cast<__m256i*>(out + 64 * j), _mm256_permute2x128_si256(first, second, 0x20));
    _mm256_store_si256(reinterpret_cast<__m256i*>(out + 64 * (j + 4)), _mm256_permute2x128_si256(first, second, 0x31));
  }

  /// Bits [first, first + bits) of the codes of 8 steps, in `bits` vectors of 16 rows.
  template <int bits, int first>
  [[gnu::always_inline]] static inline void plane(uint8_t* out, const uint8_t* steps) {
    for (size_t half = 0; half < 64; half += 32)
      for (int v = 0; v < bits; ++v) {
        __m256i packed = _mm256_setzero_si256();
        for (int i = 0; i < 8 / bits; ++i) {
          const __m256i code = bytes32(steps + 64 * (v + bits * i) + half);
          packed = _mm256_or_si256(packed, _mm256_slli_epi16(field(code, first, (1 << bits) - 1), bits * i));
        }
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + 64 * v + half), packed);
      }
  }

  /// The integer scales of the 16 rows' blocks, and the minima after them, from [row][sub-block] to [sub-block][row].
  template <DType type>
  static void scales(uint8_t* out, const uint8_t* src, size_t row_bytes) {
    constexpr size_t kSubBlocks = 256 / int8_traits<type>().sub_block;
    constexpr bool kMinima = type == DType::kQ4_K || type == DType::kQ5_K;
    alignas(16) int8_t scale[16][16], minimum[16][16];
    for (size_t r = 0; r < 16; ++r)
      Blocks<S>::template read_row_scales<type>(scale[r], minimum[r], src + r * row_bytes);
    transpose_bytes(scale);
    __builtin_memcpy(out, scale, kSubBlocks * 16);
    if constexpr (!kMinima) return;
    transpose_bytes(minimum);
    __builtin_memcpy(out + kSubBlocks * 16, minimum, kSubBlocks * 16);
  }

  [[gnu::always_inline]] static inline __m128i bytes16(const void* p) {
    return _mm_loadu_si128(static_cast<const __m128i*>(p));
  }

  /// 16 x 16 bytes: four rounds that interleave row i with row i + 8.
  [[gnu::always_inline]] static inline void transpose_bytes(int8_t (&m)[16][16]) {
    __m128i a[16], b[16];
#pragma GCC unroll 16
    for (int i = 0; i < 16; ++i) a[i] = bytes16(m[i]);
#pragma GCC unroll 2
    for (int round = 0; round < 2; ++round) {
#pragma GCC unroll 8
      for (int i = 0; i < 8; ++i)
        b[2 * i] = _mm_unpacklo_epi8(a[i], a[i + 8]), b[2 * i + 1] = _mm_unpackhi_epi8(a[i], a[i + 8]);
#pragma GCC unroll 8
      for (int i = 0; i < 8; ++i)
        a[2 * i] = _mm_unpacklo_epi8(b[i], b[i + 8]), a[2 * i + 1] = _mm_unpackhi_epi8(b[i], b[i + 8]);
    }
#pragma GCC unroll 16
    for (int i = 0; i < 16; ++i) _mm_store_si128(reinterpret_cast<__m128i*>(m[i]), a[i]);
  }
};

}  // namespace fathom::simd
