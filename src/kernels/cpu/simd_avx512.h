// Sixteen f32 lanes on AVX-512: the vector type under cpu/simd_*.h, with the same members as avx2's. Included by
// avx512_*.cc alone. Everything here is a member of a class in an anonymous namespace, so that no template made from it
// is shared with code for another processor (style.md 8).
#pragma once
#include <immintrin.h>

#include <cstddef>
#include <cstdint>

namespace fathom::avx512 {
namespace {

#define FATHOM_INLINE [[gnu::always_inline]] static inline

struct Simd {
  using V = __m512;
  static constexpr int kLinearRows = 12;
  static constexpr int kTile = 8;
  static constexpr int kAttentionHeads = 8;
  static constexpr bool kTwinScales = false;

  FATHOM_INLINE V set1(float x) { return _mm512_set1_ps(x); }
  FATHOM_INLINE V zero() { return _mm512_setzero_ps(); }
  FATHOM_INLINE V load(const float* p) { return _mm512_loadu_ps(p); }
  FATHOM_INLINE void store(float* p, V v) { _mm512_storeu_ps(p, v); }

  FATHOM_INLINE __mmask16 lanes(size_t n) { return static_cast<__mmask16>((uint32_t{1} << n) - 1); }
  FATHOM_INLINE V load_n(const float* p, size_t n) { return _mm512_maskz_loadu_ps(lanes(n), p); }
  FATHOM_INLINE void store_n(float* p, V v, size_t n) { _mm512_mask_storeu_ps(p, lanes(n), v); }
  FATHOM_INLINE V select_n(size_t n, V a, V b) { return _mm512_mask_mov_ps(b, lanes(n), a); }

  FATHOM_INLINE V add(V a, V b) { return _mm512_add_ps(a, b); }
  FATHOM_INLINE V sub(V a, V b) { return _mm512_sub_ps(a, b); }
  FATHOM_INLINE V mul(V a, V b) { return _mm512_mul_ps(a, b); }
  FATHOM_INLINE V div(V a, V b) { return _mm512_div_ps(a, b); }
  FATHOM_INLINE V fma(V a, V b, V c) { return _mm512_fmadd_ps(a, b, c); }
  FATHOM_INLINE V fnma(V a, V b, V c) { return _mm512_fnmadd_ps(a, b, c); }
  FATHOM_INLINE V max(V a, V b) { return _mm512_max_ps(a, b); }
  FATHOM_INLINE V negate(V a) { return _mm512_xor_ps(a, _mm512_set1_ps(-0.0f)); }

  FATHOM_INLINE float fold(V v) {
    const __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
    const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 1)));
  }
  FATHOM_INLINE float fold_max(V v) {
    const __m256 eight = _mm256_max_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
    const __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(two, _mm_shuffle_ps(two, two, 1)));
  }
  FATHOM_INLINE float sqrt1(float x) { return _mm_cvtss_f32(_mm_sqrt_ss(_mm_set_ss(x))); }

  FATHOM_INLINE V load_bf16(const uint16_t* p) {
    const __m256i bits = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16));
  }
  FATHOM_INLINE V load_i8(const int8_t* p) {
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
  }
  FATHOM_INLINE V load_f16(const uint16_t* p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  }

  FATHOM_INLINE V load_f8(const uint8_t* p) {
    const __m256i b = _mm256_cvtepu8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
    const __m256i limit = _mm256_set1_epi16(0x7f), size = _mm256_and_si256(b, limit);
    const __m256i sign = _mm256_slli_epi16(_mm256_sub_epi16(b, size), 8);
    const __m256i nan = _mm256_and_si256(_mm256_cmpeq_epi16(size, limit), _mm256_set1_epi16(0x7e00));
    const __m256i half = _mm256_or_si256(_mm256_or_si256(_mm256_slli_epi16(size, 7), sign), nan);
    return _mm512_mul_ps(_mm512_cvtph_ps(half), _mm512_set1_ps(0x1p8f));
  }
  FATHOM_INLINE V byte_of_dwords(const void* p, int j, int offset) {
    const __m512i shifted = _mm512_srl_epi32(_mm512_loadu_si512(p), _mm_cvtsi32_si128(8 * j));
    const __m512i bytes = _mm512_and_si512(shifted, _mm512_set1_epi32(255));
    return _mm512_cvtepi32_ps(_mm512_sub_epi32(bytes, _mm512_set1_epi32(offset)));
  }
  FATHOM_INLINE V load_scales(const int32_t* p) { return _mm512_cvtepi32_ps(_mm512_loadu_si512(p)); }
  FATHOM_INLINE V half_of_dwords(const int16_t* p, size_t half) {
    const __m512i v = _mm512_loadu_si512(p);
    return _mm512_cvtepi32_ps(_mm512_srai_epi32(half ? v : _mm512_slli_epi32(v, 16), 16));
  }

  /// The operations of ref::exp, lane by lane.
  FATHOM_INLINE V exp(V x) {
    x = _mm512_min_ps(_mm512_set1_ps(89.0f), x);  // a NaN in the second operand passes
    x = _mm512_max_ps(_mm512_set1_ps(-104.0f), x);
    const V magic = _mm512_set1_ps(0x1.8p+23f), one = _mm512_set1_ps(1.0f);
    const V shifted = _mm512_fmadd_ps(x, _mm512_set1_ps(0x1.715476p+0f), magic);
    const V n = _mm512_sub_ps(shifted, magic);
    V r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0x1.62e43p-1f), x);
    r = _mm512_fnmadd_ps(n, _mm512_set1_ps(-0x1.05c61p-29f), r);
    V p = _mm512_fmadd_ps(_mm512_set1_ps(0x1.6d110ap-10f), r, _mm512_set1_ps(0x1.120b6ep-7f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0x1.55551ap-5f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0x1.5554dcp-3f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0x1p-1f));
    p = _mm512_fmadd_ps(p, r, one);
    p = _mm512_fmadd_ps(p, r, one);
    const __m512i whole = _mm512_sub_epi32(_mm512_castps_si512(shifted), _mm512_castps_si512(magic));
    const __m512i half = _mm512_srai_epi32(whole, 1), bias = _mm512_set1_epi32(127);
    const __m512i scale1 = _mm512_slli_epi32(_mm512_add_epi32(half, bias), 23);
    const __m512i scale2 = _mm512_slli_epi32(_mm512_add_epi32(_mm512_sub_epi32(whole, half), bias), 23);
    return _mm512_mul_ps(_mm512_mul_ps(p, _mm512_castsi512_ps(scale1)), _mm512_castsi512_ps(scale2));
  }

  FATHOM_INLINE V max_magnitude(V acc, V x) {
    const __m512i size = _mm512_and_si512(_mm512_castps_si512(x), _mm512_set1_epi32(0x7fffffff));
    return _mm512_castsi512_ps(_mm512_max_epi32(_mm512_castps_si512(acc), size));
  }
  FATHOM_INLINE uint32_t fold_magnitude(V v) {
    const __m512i bits = _mm512_castps_si512(v);
    const __m256i eight = _mm256_max_epi32(_mm512_castsi512_si256(bits), _mm512_extracti64x4_epi64(bits, 1));
    __m128i four = _mm_max_epi32(_mm256_castsi256_si128(eight), _mm256_extracti128_si256(eight, 1));
    four = _mm_max_epi32(four, _mm_shuffle_epi32(four, 0x4e));
    four = _mm_max_epi32(four, _mm_shuffle_epi32(four, 0xb1));
    return static_cast<uint32_t>(_mm_cvtsi128_si32(four));
  }
  FATHOM_INLINE int store_int8(int8_t* q, V v) {
    const __m256i words = _mm512_cvtepi32_epi16(_mm512_cvtps_epi32(v));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(q), _mm256_cvtepi16_epi8(words));
    const __m128i low = _mm256_castsi256_si128(words), high = _mm256_extracti128_si256(words, 1);
    __m128i sum = _mm_madd_epi16(_mm_add_epi16(low, high), _mm_set1_epi16(1));
    sum = _mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0x4e));
    sum = _mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0xb1));
    return _mm_cvtsi128_si32(sum);
  }
  /// By integers, not by the processor's own conversion, which flushes subnormals.
  FATHOM_INLINE __m512i bf16_bits(V x) {
    const __m512i u = _mm512_castps_si512(x), top = _mm512_srli_epi32(u, 16);
    const __m512i odd = _mm512_and_si512(top, _mm512_set1_epi32(1));
    const __m512i rounded =
        _mm512_srli_epi32(_mm512_add_epi32(_mm512_add_epi32(u, _mm512_set1_epi32(0x7fff)), odd), 16);
    const __mmask16 nan = _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);
    return _mm512_mask_or_epi32(rounded, nan, top, _mm512_set1_epi32(64));
  }
  FATHOM_INLINE void store_bf16(uint16_t* p, V v) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtepi32_epi16(bf16_bits(v)));
  }
};

#undef FATHOM_INLINE

}  // namespace
}  // namespace fathom::avx512
