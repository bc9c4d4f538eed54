// Packed groups (kernels/packed.h) as bytes with lanes over rows, with AVX2: vector by vector, or a whole slice of a
// panel (simd_planes.h) at once. S is private to the including file (simd_avx2.h, simd_avx512.h), so these templates
// are too. Pure functions over the caller's memory, any thread.
#pragma once
#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "kernels/cpu/simd_planes.h"

namespace fathom::simd {

template <class S>
struct Unpack {
  /// `blocks` groups from src on: one of 256 values, or up to 8 of 32. is_signed: bytes of offset 128 without it.
  template <DType type, bool is_signed = false>
  static void slice(PanelSlice& out, const uint8_t* src, size_t blocks) {
    constexpr Planes kAt = planes<type>();
    if constexpr (has_sub_blocks<type>()) {
      for (size_t s = 0; s < 256 / int8_traits<type>().sub_block; ++s)
        for (size_t r = 0; r < 16; r += 8) store(&out.scale[s][r], scales8<type>(src, s, r));
      for (size_t g = 0; g < size_t{128 / int8_traits<type>().sub_block}; ++g)
        for (size_t r = 0; r < 16; r += 8) store(&out.secondary[g][r][0], secondary8<type>(src, g, r));
    }
    for (size_t b = 0; b < blocks; ++b, src += kAt.bytes) {
      for (size_t r = 0; r < 16; r += 8) {
        _mm256_store_ps(&out.d[b][r], d8<type>(src, r));
        if constexpr (int8_traits<type>().minimum != 0) _mm256_store_ps(&out.m[b][r], m8<type>(src, r));
      }
      for (size_t g = 0; g < kAt.values / 32; ++g)
#pragma GCC unroll 8
        for (int step = 0; step < 8; ++step)
          for (size_t r = 0; r < 16; r += 8)
            store(&out.w[8 * (b + g) + static_cast<size_t>(step)][r][0], codes8<type, is_signed>(src, g, step, r));
    }
  }

  // ---- of one group, for the eight rows from r on

  /// Values 32 g + 4 step .. + 3 of each row as bytes, the offset not taken off; is_signed: unless it is 128.
  template <DType type, bool is_signed = false>
  [[gnu::always_inline]] static inline __m256i codes8(const uint8_t* group, size_t g, int step, size_t r) {
    constexpr Planes kAt = planes<type>();
    return bytes8<type, is_signed>(group + kAt.codes + g * kAt.stride32, step, r);
  }
  /// The same, where the codes of group of 32 g begin.
  template <DType type, bool is_signed = false>
  [[gnu::always_inline]] static inline __m256i bytes8(const uint8_t* codes, int step, size_t r) {
    constexpr Planes kAt = planes<type>();
    const __m256i code = field8<kAt.code_bits, 0>(codes, step, r);
    if constexpr (type == DType::kQ8_0) {
      return is_signed ? code : _mm256_xor_si256(code, _mm256_set1_epi8(-128));
    } else if constexpr (type == DType::kIQ4_NL || type == DType::kIQ4_XS) {
      const __m128i values = _mm_setr_epi8(-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113);
      return look_up(is_signed ? values : _mm_xor_si128(values, _mm_set1_epi8(-128)), code);
    } else if constexpr (type == DType::kMXFP4) {
      return look_up(_mm_setr_epi8(12, 13, 14, 15, 16, 18, 20, 24, 12, 11, 10, 9, 8, 6, 4, 0), code);
    } else if constexpr (kAt.high_bits != 0) {
      return _mm256_or_si256(code, field8<kAt.high_bits, kAt.code_bits>(codes + kAt.high - kAt.codes, step, r));
    } else {
      return code;
    }
  }
  /// Scales of sub-block s: the number in a dword, or two of it as int16 (S::kTwinScales).
  template <DType type>
  [[gnu::always_inline]] static inline __m256i scales8(const uint8_t* group, size_t s, size_t r) {
    __m128i bytes = load8(group + planes<type>().scales + 16 * s + r);
    if constexpr (type == DType::kQ2_K) bytes = _mm_and_si128(bytes, _mm_set1_epi8(15));
    const __m256i v = _mm256_cvtepi8_epi32(bytes);
    return S::kTwinScales ? _mm256_blend_epi16(_mm256_slli_epi32(v, 16), v, 0x55) : v;
  }
  /// What the sums of activations of sub-blocks 2 g and 2 g + 1 are multiplied with: int16 minima, or offset * scale.
  template <DType type>
  [[gnu::always_inline]] static inline __m256i secondary8(const uint8_t* group, size_t g, size_t r) {
    constexpr Planes kAt = planes<type>();
    constexpr Int8Traits kTraits = int8_traits<type>();
    const uint8_t* at = group + (kAt.codes - kAt.minima != 0 ? kAt.minima : kAt.scales) + 32 * g + r;
    __m128i both = _mm_unpacklo_epi8(load8(at), load8(at + 16));
    if constexpr (type == DType::kQ2_K) both = _mm_and_si128(_mm_srli_epi16(both, 4), _mm_set1_epi8(15));
    const __m256i pairs = _mm256_cvtepi8_epi16(both);
    if constexpr (kTraits.minimum != 0) return pairs;
    return _mm256_mullo_epi16(pairs, _mm256_set1_epi16(kTraits.offset));
  }
  /// Minima of sub-blocks 2 g and 2 g + 1 of 32 values as int16 pairs.
  template <DType type>
  [[gnu::always_inline]] static inline __m256i two_minima8(const uint8_t* group, size_t g, size_t r) {
    const uint8_t* at = group + planes<type>().minima + 32 * g + r;
    return _mm256_cvtepi8_epi16(_mm_unpacklo_epi8(load8(at), load8(at + 16)));
  }
  /// Numbers of sub-blocks 2 g and 2 g + 1 of 16 values as int16 pairs: minima where the type has them, else scales.
  template <DType type>
  [[gnu::always_inline]] static inline __m256i two_numbers8(const uint8_t* group, size_t g, size_t r) {
    const uint8_t* at = group + planes<type>().scales + 32 * g + r;
    __m128i both = _mm_unpacklo_epi8(load8(at), load8(at + 16));
    if constexpr (type == DType::kQ2_K) both = _mm_and_si128(_mm_srli_epi16(both, 4), _mm_set1_epi8(15));
    return _mm256_cvtepi8_epi16(both);
  }
  template <DType type>
  [[gnu::always_inline]] static inline __m256 d8(const uint8_t* group, size_t r) {
    if constexpr (type == DType::kMXFP4) {
      // 2^(e - 128): subnormal below e = 2
      const __m256i e = _mm256_cvtepu8_epi32(load8(group + r));
      const __m256i normal = _mm256_slli_epi32(_mm256_sub_epi32(e, _mm256_set1_epi32(1)), 23);
      const __m256i tiny = _mm256_sllv_epi32(_mm256_set1_epi32(0x200000), e);
      const __m256i is_tiny = _mm256_cmpgt_epi32(_mm256_set1_epi32(2), e);
      return _mm256_castsi256_ps(_mm256_blendv_epi8(normal, tiny, is_tiny));
    } else {
      return halves8(group + 2 * r);
    }
  }
  template <DType type>
  [[gnu::always_inline]] static inline __m256 m8(const uint8_t* group, size_t r) {
    return halves8(group + planes<type>().m + 2 * r);
  }

 private:
  [[gnu::always_inline]] static inline __m128i load8(const uint8_t* p) {
    return _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p));
  }
  [[gnu::always_inline]] static inline __m256 halves8(const uint8_t* p) {
    return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
  [[gnu::always_inline]] static inline __m256i look_up(__m128i table, __m256i codes) {
    return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(table), codes);
  }
  [[gnu::always_inline]] static inline void store(void* p, __m256i v) {
    _mm256_store_si256(static_cast<__m256i*>(p), v);
  }
  /// The bits of step `step` of a group of 32, moved to bit `place` of their bytes.
  template <int bits, int place>
  [[gnu::always_inline]] static inline __m256i field8(const uint8_t* plane, int step, size_t r) {
    const uint8_t* at = plane + static_cast<size_t>(step % bits) * 64 + 4 * r;
    const __m256i v = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(at));
    if constexpr (bits == 8) return v;
    const int down = step / bits * bits - place;
    const __m256i moved = down > 0 ? _mm256_srli_epi16(v, down) : down < 0 ? _mm256_slli_epi16(v, -down) : v;
    return _mm256_and_si256(moved, _mm256_set1_epi8(static_cast<char>(((1 << bits) - 1) << place)));
  }
};

}  // namespace fathom::simd
