// A panel's weights as vectors of 64 bytes with four values of each of its 16 rows, straight from packed groups
// (kernels/packed.h). Included by avx512_int8.cc alone. Pure functions over the caller's memory, any thread.
#pragma once
#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "kernels/cpu/simd_planes.h"

namespace fathom::avx512 {
namespace {

using simd::has_sub_blocks;
using simd::int8_traits;

#define FATHOM_INLINE [[gnu::always_inline]] inline

template <DType type, bool fetches>
struct FromGroups {
  static constexpr size_t kAhead = 8192;  ///< bytes; into the second cache
  static constexpr simd::Planes kAt = simd::planes<type>();
  const uint8_t* group;

  /// What lies ahead, in eight pieces of a block of 256, or of block of 32 g.
  FATHOM_INLINE void fetch(size_t g) const {
    constexpr size_t kBytes = has_sub_blocks<type>() ? kAt.bytes / 8 : kAt.bytes;
#pragma GCC unroll 16
    for (size_t at = 0; fetches && at < kBytes; at += 64) _mm_prefetch(group + kAhead + g * kBytes + at, _MM_HINT_T1);
  }
  /// Values 32 g + 4 step .. + 3 of each row as bytes, the offset not taken off.
  FATHOM_INLINE __m512i codes(size_t g, int step) const {
    const uint8_t* at = group;
    if constexpr (!has_sub_blocks<type>()) at += g * kAt.bytes, g = 0;
    at += kAt.codes + g * kAt.stride32;
    const __m512i code = field<kAt.code_bits>(at, step);
    if constexpr (type == DType::kQ8_0) {
      return _mm512_xor_si512(code, _mm512_set1_epi8(-128));
    } else if constexpr (type == DType::kIQ4_NL || type == DType::kIQ4_XS) {  // the table plus 128
      return look_up(_mm_setr_epi8(1, 24, 45, 63, 79, 93, 106, 118, -127, -115, -103, -90, -75, -59, -39, -15), code);
    } else if constexpr (type == DType::kMXFP4) {
      return look_up(_mm_setr_epi8(12, 13, 14, 15, 16, 18, 20, 24, 12, 11, 10, 9, 8, 6, 4, 0), code);
    } else if constexpr (kAt.high_bits != 0) {
      const uint8_t* high = at + kAt.high - kAt.codes + 64 * (step % kAt.high_bits);
      const __m512i bits = shift_left(bytes64(high), kAt.code_bits - step / kAt.high_bits * kAt.high_bits);
      const __m512i mask = _mm512_set1_epi8(((1 << kAt.high_bits) - 1) << kAt.code_bits);
      return _mm512_ternarylogic_epi32(code, bits, mask, 0xf8);  // code | (bits & mask)
    } else {
      return code;
    }
  }
  FATHOM_INLINE __m512i scale(size_t s) const {
    __m128i bytes = bytes16(group + kAt.scales + 16 * s);
    if constexpr (type == DType::kQ2_K) bytes = _mm_and_si128(bytes, _mm_set1_epi8(15));
    return _mm512_cvtepi8_epi32(bytes);
  }
  FATHOM_INLINE __m512i two_minima(size_t j) const {
    const uint8_t* at = group + (type == DType::kQ2_K ? kAt.scales : kAt.minima) + 32 * j;
    const __m128i first = bytes16(at), second = bytes16(at + 16);
    const __m256i low = _mm256_castsi128_si256(_mm_unpacklo_epi8(first, second));
    const __m256i pairs = _mm256_inserti128_si256(low, _mm_unpackhi_epi8(first, second), 1);
    if constexpr (type == DType::kQ2_K)
      return _mm512_cvtepu8_epi16(_mm256_and_si256(_mm256_srli_epi16(pairs, 4), _mm256_set1_epi8(15)));
    return _mm512_cvtepu8_epi16(pairs);
  }
  FATHOM_INLINE __m512 d(size_t b) const {
    if constexpr (type == DType::kMXFP4) {  // 2^(e - 128): subnormal below e = 2
      const __m512i e = _mm512_cvtepu8_epi32(bytes16(group + b * kAt.bytes));
      const __m512i normal = _mm512_slli_epi32(_mm512_sub_epi32(e, _mm512_set1_epi32(1)), 23);
      const __mmask16 tiny = _mm512_cmplt_epi32_mask(e, _mm512_set1_epi32(2));
      return _mm512_castsi512_ps(_mm512_mask_sllv_epi32(normal, tiny, _mm512_set1_epi32(0x200000), e));
    } else {
      return halves(group + b * kAt.bytes);
    }
  }
  FATHOM_INLINE __m512 m(size_t b) const { return halves(group + b * kAt.bytes + kAt.m); }

 private:
  FATHOM_INLINE static __m128i bytes16(const uint8_t* p) {
    return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  }
  FATHOM_INLINE static __m512i bytes64(const uint8_t* p) { return _mm512_loadu_si512(p); }
  FATHOM_INLINE static __m512 halves(const uint8_t* p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  }
  FATHOM_INLINE static __m512i look_up(__m128i table, __m512i codes) {
    return _mm512_shuffle_epi8(_mm512_broadcast_i32x4(table), codes);
  }
  /// Bits move between the bytes of a pair: for masked results.
  FATHOM_INLINE static __m512i shift_left(__m512i v, int by) {
    return by > 0   ? _mm512_slli_epi16(v, static_cast<unsigned>(by))
           : by < 0 ? _mm512_srli_epi16(v, static_cast<unsigned>(-by))
                    : v;
  }
  /// The bits of step `step` of 32 values that begin at src.
  template <int bits>
  FATHOM_INLINE static __m512i field(const uint8_t* src, int step) {
    const __m512i v = bytes64(src + 64 * (step % bits));
    if constexpr (bits == 8) return v;
    return _mm512_and_si512(shift_left(v, -(step / bits * bits)), _mm512_set1_epi8((1 << bits) - 1));
  }
};

#undef FATHOM_INLINE

}  // namespace
}  // namespace fathom::avx512
