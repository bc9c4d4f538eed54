// One slice of a panel (16 rows, up to 256 values of k) of a quantised weight, unpacked to bytes with lanes over rows.
// The products of simd_linear.h and *_int8.cc read it. S is private to the including file (simd_avx2.h,
// simd_avx512.h), so these templates are too. Pure functions over the caller's memory, any thread.
#pragma once
#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "kernels/kernels.h"

namespace fathom::simd {

inline constexpr size_t kSliceValues = 256;

/// What a type's integer weights look like. Value = d * scale * (byte - offset), then + m or - m * minimum.
struct Int8Traits {
  int offset;     ///< taken off the stored byte; 128: the weight uses the whole signed range
  int sub_block;  ///< values that share an integer scale; 32 for blocks of 32, which have none
  int pair_sums;  ///< how many sums of two products with activations up to 127 fit into int16 together
  int minimum;    ///< 0 none, 1 plus m (per 32 values), -1 minus m times an integer per sub-block
};

template <DType type>
consteval Int8Traits int8_traits() {
  switch (type) {
    case DType::kQ4_0: return {8, 32, 8, 0};
    case DType::kQ4_1: return {0, 32, 8, 1};
    case DType::kQ5_0: return {16, 32, 4, 0};
    case DType::kQ5_1: return {0, 32, 4, 1};
    case DType::kMXFP4: return {12, 32, 4, 0};
    case DType::kQ2_K: return {0, 16, 4, -1};
    case DType::kQ3_K: return {4, 16, 4, 0};
    case DType::kQ4_K: return {0, 32, 8, -1};
    case DType::kQ5_K: return {0, 32, 4, -1};
    case DType::kQ6_K: return {32, 16, 2, 0};
    default: return {128, 32, 1, 0};  // Q8_0, IQ4_NL, IQ4_XS
  }
}

template <DType type>
consteval bool has_sub_blocks() {
  return type == DType::kQ2_K || type == DType::kQ3_K || type == DType::kQ4_K || type == DType::kQ5_K ||
         type == DType::kQ6_K || type == DType::kIQ4_XS;
}

template <DType type>
consteval size_t block_bytes() {
  switch (type) {
    case DType::kQ4_0: return 18;
    case DType::kQ4_1: return 20;
    case DType::kQ5_0: return 22;
    case DType::kQ5_1: return 24;
    case DType::kQ8_0: return 34;
    case DType::kIQ4_NL: return 18;
    case DType::kMXFP4: return 17;
    case DType::kQ2_K: return 84;
    case DType::kQ3_K: return 110;
    case DType::kQ4_K: return 144;
    case DType::kQ5_K: return 176;
    case DType::kQ6_K: return 210;
    case DType::kIQ4_XS: return 136;
    default: return 0;
  }
}

struct alignas(64) PanelSlice {
  uint8_t w[kSliceValues / 4][16][4];  ///< [k / 4][row][k % 4]
  int32_t scale[16][16];               ///< [sub-block][row]; the number, or twice as int16 halves (S::kTwinScales)
  int16_t secondary[8][16][2];         ///< [k / 32][row][k / 16 % 2]: minimum, or offset * scale, times the sums of q
  float d[8][16];                      ///< [block][row]
  float m[8][16];
};

template <class S>
struct Unpack {
  /// `blocks` blocks of each of the 16 rows from src on: one block of 256 values, or up to 8 blocks of 32.
  template <DType type>
  static void slice(PanelSlice& out, const uint8_t* src, size_t blocks) {
    constexpr size_t kBytes = block_bytes<type>();
    if constexpr (has_sub_blocks<type>()) {
      read_scales<type>(out, src);
      for (size_t g = 0; g < 8; ++g)
        for (size_t r = 0; r < 16; r += 8) interleave<type>(&out.w[8 * g][r][0], src + r * kBytes, static_cast<int>(g));
    } else {
      for (size_t b = 0; b < blocks; ++b, src += 16 * kBytes) {
        for (size_t r = 0; r < 16; ++r) read_factors<type>(out, src + r * kBytes, b, r);
        for (size_t r = 0; r < 16; r += 8) interleave<type>(&out.w[8 * b][r][0], src + r * kBytes, 0);
      }
    }
  }

 private:
  static constexpr auto kLow4 = 15;

  [[gnu::always_inline]] static inline float f16(const uint8_t* p) {
    uint16_t bits;
    __builtin_memcpy(&bits, p, 2);
    return _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(bits)));
  }
  [[gnu::always_inline]] static inline uint32_t u32(const uint8_t* p) {
    uint32_t bits;
    __builtin_memcpy(&bits, p, 4);
    return bits;
  }
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
    const __m256i spread = _mm256_shuffle_epi8(_mm256_set1_epi32(static_cast<int>(u32(p))), which);
    const __m256i set = _mm256_cmpeq_epi8(_mm256_and_si256(spread, bit), bit);
    return _mm256_and_si256(set, _mm256_set1_epi8(16));
  }
  [[gnu::always_inline]] static inline __m256i look_up(__m128i table, __m256i codes) {
    return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(table), codes);
  }
  /// The values of IQ4_NL plus 128.
  [[gnu::always_inline]] static inline __m128i iq4_table() {
    return _mm_xor_si128(_mm_setr_epi8(-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113),
                         _mm_set1_epi8(-128));
  }

  /// Values 32 g .. 32 g + 31 of one block as bytes, the offset not taken off (spec/gguf.md 4).
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
      return _mm256_xor_si256(bytes32(b + 2), _mm256_set1_epi8(-128));
    } else if constexpr (type == DType::kIQ4_NL) {
      return look_up(iq4_table(), nibbles(b + 2));
    } else if constexpr (type == DType::kMXFP4) {
      return look_up(_mm_setr_epi8(12, 13, 14, 15, 16, 18, 20, 24, 12, 11, 10, 9, 8, 6, 4, 0), nibbles(b + 1));
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
      return look_up(iq4_table(), nibbles(b + 8 + 16 * g));  // IQ4_XS
    }
  }

  /// Eight rows' group of 32 bytes to [8 steps of 4 values][row], rows 64 bytes apart at out: a transpose of dwords.
  template <DType type>
  [[gnu::always_inline]] static inline void interleave(uint8_t* out, const uint8_t* src, int g) {
    constexpr size_t kBytes = block_bytes<type>();
    const __m256i r0 = load32<type>(src, g), r1 = load32<type>(src + kBytes, g);
    const __m256i r2 = load32<type>(src + 2 * kBytes, g), r3 = load32<type>(src + 3 * kBytes, g);
    const __m256i r4 = load32<type>(src + 4 * kBytes, g), r5 = load32<type>(src + 5 * kBytes, g);
    const __m256i r6 = load32<type>(src + 6 * kBytes, g), r7 = load32<type>(src + 7 * kBytes, g);
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

  template <DType type>
  [[gnu::always_inline]] static inline void read_factors(PanelSlice& out, const uint8_t* b, size_t block, size_t r) {
    if constexpr (type == DType::kMXFP4) {
      const uint32_t bits = b[0] < 2 ? 0x200000u << b[0] : static_cast<uint32_t>(b[0] - 1) << 23;  // 2^(e - 128)
      __builtin_memcpy(&out.d[block][r], &bits, 4);
    } else {
      out.d[block][r] = f16(b);
      if constexpr (int8_traits<type>().minimum != 0) out.m[block][r] = f16(b + 2);
    }
  }

  /// The integer scales (and minima) of all rows' block of 256, from [row][sub-block] to lanes over rows.
  template <DType type>
  static void read_scales(PanelSlice& out, const uint8_t* src) {
    constexpr Int8Traits kTraits = int8_traits<type>();
    constexpr size_t kSubBlocks = 256 / kTraits.sub_block, kPerGroup = 32 / kTraits.sub_block;
    alignas(16) int8_t scale[16][16], minimum[16][16];
    for (size_t r = 0; r < 16; ++r, src += block_bytes<type>())
      read_row_scales<type>(scale[r], minimum[r], out.d[0][r], out.m[0][r], src);
    transpose_bytes(scale);
    for (size_t s = 0; s < kSubBlocks; ++s) store_scales(out.scale[s], scale[s]);
    if constexpr (kTraits.minimum != 0) {
      transpose_bytes(minimum);
      for (size_t g = 0; g < 8; ++g)
        store_pairs<1>(&out.secondary[g][0][0], minimum[g * kPerGroup], minimum[g * kPerGroup + kPerGroup / 2]);
    } else {
      for (size_t g = 0; g < 8; ++g)
        store_pairs<kTraits.offset>(&out.secondary[g][0][0], scale[g * kPerGroup],
                                    scale[g * kPerGroup + kPerGroup / 2]);
    }
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

  /// 16 signed bytes as dwords, or as dwords of two equal int16.
  [[gnu::always_inline]] static inline void store_scales(int32_t* out, const int8_t* scale) {
    for (size_t r = 0; r < 16; r += 8) {
      __m256i v = _mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(scale + r)));
      if constexpr (S::kTwinScales) v = _mm256_blend_epi16(_mm256_slli_epi32(v, 16), v, 0x55);
      _mm256_store_si256(reinterpret_cast<__m256i*>(out + r), v);
    }
  }

  /// factor times two rows of 16 signed bytes as pairs of int16.
  template <int factor>
  [[gnu::always_inline]] static inline void store_pairs(int16_t* out, const int8_t* first, const int8_t* second) {
    const __m128i a = bytes16(first), b = bytes16(second);
    const __m256i low = _mm256_cvtepi8_epi16(_mm_unpacklo_epi8(a, b)),
                  high = _mm256_cvtepi8_epi16(_mm_unpackhi_epi8(a, b));
    const __m256i f = _mm256_set1_epi16(factor);
    _mm256_store_si256(reinterpret_cast<__m256i*>(out), _mm256_mullo_epi16(low, f));
    _mm256_store_si256(reinterpret_cast<__m256i*>(out + 16), _mm256_mullo_epi16(high, f));
  }

  template <DType type>
  [[gnu::always_inline]] static inline void read_row_scales(int8_t* scale, int8_t* minimum, float& d, float& m,
                                                            const uint8_t* b) {
    if constexpr (type == DType::kQ2_K) {
      const __m128i both = bytes16(b), low4 = _mm_set1_epi8(kLow4);
      _mm_store_si128(reinterpret_cast<__m128i*>(scale), _mm_and_si128(both, low4));
      _mm_store_si128(reinterpret_cast<__m128i*>(minimum), _mm_and_si128(_mm_srli_epi16(both, 4), low4));
      d = f16(b + 80), m = f16(b + 82);
    } else if constexpr (type == DType::kQ3_K) {
      read_q3_scales(scale, b + 96);
      d = f16(b + 108);
    } else if constexpr (type == DType::kQ6_K) {
      _mm_store_si128(reinterpret_cast<__m128i*>(scale), bytes16(b + 192));
      d = f16(b + 208);
    } else if constexpr (type == DType::kIQ4_XS) {
      const unsigned high = b[2] | static_cast<unsigned>(b[3]) << 8;
      for (size_t s = 0; s < 8; ++s)
        scale[s] = static_cast<int8_t>(((b[4 + s / 2] >> (s % 2 * 4) & 15) | (high >> (2 * s) & 3) << 4) - 32);
      __builtin_memset(scale + 8, 0, 8);
      d = f16(b);
    } else {
      read_k_scales(scale, minimum, b + 4);
      d = f16(b), m = f16(b + 2);
    }
  }

  /// 16 scales of 6 bits: low nibbles in bytes 0 to 7, high pairs in bytes 8 to 11; minus 32.
  [[gnu::always_inline]] static inline void read_q3_scales(int8_t* scale, const uint8_t* p) {
    const uint32_t a = u32(p), b = u32(p + 4), high = u32(p + 8), nibble = 0x0f0f0f0fu, two = 0x03030303u;
    const uint32_t words[4] = {(a & nibble) | (high & two) << 4, (b & nibble) | (high >> 2 & two) << 4,
                               (a >> 4 & nibble) | (high >> 4 & two) << 4, (b >> 4 & nibble) | (high >> 6 & two) << 4};
    _mm_store_si128(reinterpret_cast<__m128i*>(scale), _mm_sub_epi8(bytes16(words), _mm_set1_epi8(32)));
  }

  /// 8 scales and 8 minima of 6 bits in 12 bytes, four at a time.
  [[gnu::always_inline]] static inline void read_k_scales(int8_t* scale, int8_t* minimum, const uint8_t* p) {
    const uint32_t a = u32(p), b = u32(p + 4), c = u32(p + 8), six = 0x3f3f3f3fu, nibble = 0x0f0f0f0fu,
                   two = 0x03030303u;
    const uint32_t scales[4] = {a & six, (c & nibble) | (a >> 6 & two) << 4, 0, 0};
    const uint32_t minima[4] = {b & six, (c >> 4 & nibble) | (b >> 6 & two) << 4, 0, 0};
    __builtin_memcpy(scale, scales, 16);
    __builtin_memcpy(minimum, minima, 16);
  }
};

}  // namespace fathom::simd
