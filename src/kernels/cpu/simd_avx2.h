// Sixteen f32 lanes on AVX2 with FMA: the vector type under cpu/simd_*.h. Included by avx2_*.cc alone. Everything here
// is a member of a class in an anonymous namespace, so that no template made from it is shared with code for another
// processor (style.md 8).
#pragma once
#include <immintrin.h>

#include <cstddef>
#include <cstdint>

namespace fathom::avx2 {
namespace {

#define FATHOM_INLINE [[gnu::always_inline]] static inline

struct Simd {
  struct V {
    __m256 lo, hi;
  };
  static constexpr int kLinearRows = 6;      ///< rows of activations that linear_exact holds in registers
  static constexpr int kTile = 4;            ///< accumulators of MLA's attention
  static constexpr int kAttentionHeads = 6;  ///< that read keys and values together
  static constexpr bool kTwinScales = true;  ///< integer scales of sub-blocks as two equal int16 (simd_unpack.h)

  FATHOM_INLINE V set1(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
  FATHOM_INLINE V zero() { return {_mm256_setzero_ps(), _mm256_setzero_ps()}; }
  FATHOM_INLINE V load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
  FATHOM_INLINE void store(float* p, V v) { _mm256_storeu_ps(p, v.lo), _mm256_storeu_ps(p + 8, v.hi); }

  /// All ones in the lanes i < n of the eight from `first` on.
  FATHOM_INLINE __m256i lanes(size_t n, int first) {
    const __m256i index = _mm256_add_epi32(_mm256_set1_epi32(first), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n)), index);
  }
  /// The first n <= 16 lanes; the others are 0 and their memory is not touched.
  FATHOM_INLINE V load_n(const float* p, size_t n) {
    return {_mm256_maskload_ps(p, lanes(n, 0)), _mm256_maskload_ps(p + 8, lanes(n, 8))};
  }
  FATHOM_INLINE void store_n(float* p, V v, size_t n) {
    _mm256_maskstore_ps(p, lanes(n, 0), v.lo);
    _mm256_maskstore_ps(p + 8, lanes(n, 8), v.hi);
  }
  /// a in the lanes i < n, b in the others.
  FATHOM_INLINE V select_n(size_t n, V a, V b) {
    return {_mm256_blendv_ps(b.lo, a.lo, _mm256_castsi256_ps(lanes(n, 0))),
            _mm256_blendv_ps(b.hi, a.hi, _mm256_castsi256_ps(lanes(n, 8)))};
  }

  FATHOM_INLINE V add(V a, V b) { return {_mm256_add_ps(a.lo, b.lo), _mm256_add_ps(a.hi, b.hi)}; }
  FATHOM_INLINE V sub(V a, V b) { return {_mm256_sub_ps(a.lo, b.lo), _mm256_sub_ps(a.hi, b.hi)}; }
  FATHOM_INLINE V mul(V a, V b) { return {_mm256_mul_ps(a.lo, b.lo), _mm256_mul_ps(a.hi, b.hi)}; }
  FATHOM_INLINE V div(V a, V b) { return {_mm256_div_ps(a.lo, b.lo), _mm256_div_ps(a.hi, b.hi)}; }
  FATHOM_INLINE V fma(V a, V b, V c) { return {_mm256_fmadd_ps(a.lo, b.lo, c.lo), _mm256_fmadd_ps(a.hi, b.hi, c.hi)}; }
  FATHOM_INLINE V fnma(V a, V b, V c) {
    return {_mm256_fnmadd_ps(a.lo, b.lo, c.lo), _mm256_fnmadd_ps(a.hi, b.hi, c.hi)};
  }
  /// a > b ? a : b, so b where either is a NaN.
  FATHOM_INLINE V max(V a, V b) { return {_mm256_max_ps(a.lo, b.lo), _mm256_max_ps(a.hi, b.hi)}; }
  FATHOM_INLINE V negate(V a) {
    const __m256 sign = _mm256_set1_ps(-0.0f);
    return {_mm256_xor_ps(a.lo, sign), _mm256_xor_ps(a.hi, sign)};
  }

  /// s[j] += s[j + 8], then +4, +2, +1.
  FATHOM_INLINE float fold(V v) {
    const __m256 eight = _mm256_add_ps(v.lo, v.hi);
    const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 1)));
  }
  FATHOM_INLINE float fold_max(V v) {
    const __m256 eight = _mm256_max_ps(v.lo, v.hi);
    const __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(two, _mm_shuffle_ps(two, two, 1)));
  }
  FATHOM_INLINE float sqrt1(float x) { return _mm_cvtss_f32(_mm_sqrt_ss(_mm_set_ss(x))); }

  FATHOM_INLINE __m256 widen_bf16_8(const uint16_t* p) {
    const __m128i bits = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16));
  }
  FATHOM_INLINE V load_bf16(const uint16_t* p) { return {widen_bf16_8(p), widen_bf16_8(p + 8)}; }
  FATHOM_INLINE __m256 widen_i8_8(const int8_t* p) {
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))));
  }
  FATHOM_INLINE V load_i8(const int8_t* p) { return {widen_i8_8(p), widen_i8_8(p + 8)}; }
  FATHOM_INLINE V load_f16(const uint16_t* p) {
    return {_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))),
            _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p + 8)))};
  }

  /// 16 e4m3 as f32, by way of f16: in its place the bits are 2^-8 times the value, subnormal ones too.
  FATHOM_INLINE V load_f8(const uint8_t* p) {
    const __m256i b = _mm256_cvtepu8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
    const __m256i limit = _mm256_set1_epi16(0x7f), size = _mm256_and_si256(b, limit);
    const __m256i sign = _mm256_slli_epi16(_mm256_sub_epi16(b, size), 8);
    const __m256i nan = _mm256_and_si256(_mm256_cmpeq_epi16(size, limit), _mm256_set1_epi16(0x7e00));
    const __m256i half = _mm256_or_si256(_mm256_or_si256(_mm256_slli_epi16(size, 7), sign), nan);
    const __m256 up = _mm256_set1_ps(0x1p8f);
    return {_mm256_mul_ps(_mm256_cvtph_ps(_mm256_castsi256_si128(half)), up),
            _mm256_mul_ps(_mm256_cvtph_ps(_mm256_extracti128_si256(half, 1)), up)};
  }
  /// Byte j of each of 16 dwords, less offset, as f32.
  FATHOM_INLINE V byte_of_dwords(const void* p, int j, int offset) {
    const auto* words = static_cast<const __m256i*>(p);
    const auto one = [&](__m256i v) {
      const __m256i bytes = _mm256_and_si256(_mm256_srl_epi32(v, _mm_cvtsi32_si128(8 * j)), _mm256_set1_epi32(255));
      return _mm256_cvtepi32_ps(_mm256_sub_epi32(bytes, _mm256_set1_epi32(offset)));
    };
    return {one(_mm256_loadu_si256(words)), one(_mm256_loadu_si256(words + 1))};
  }
  /// 16 scales of sub-blocks as f32.
  FATHOM_INLINE V load_scales(const int32_t* p) {
    const auto* words = reinterpret_cast<const __m256i*>(p);
    return {_mm256_cvtepi32_ps(_mm256_srai_epi32(_mm256_loadu_si256(words), 16)),
            _mm256_cvtepi32_ps(_mm256_srai_epi32(_mm256_loadu_si256(words + 1), 16))};
  }
  /// The low (half 0) or high int16 of 16 dwords as f32.
  FATHOM_INLINE V half_of_dwords(const int16_t* p, size_t half) {
    const auto* words = reinterpret_cast<const __m256i*>(p);
    const auto one = [&](__m256i v) {
      return _mm256_cvtepi32_ps(_mm256_srai_epi32(half ? v : _mm256_slli_epi32(v, 16), 16));
    };
    return {one(_mm256_loadu_si256(words)), one(_mm256_loadu_si256(words + 1))};
  }

  /// The operations of ref::exp, lane by lane; c are its constants (ref/elementary.h).
  FATHOM_INLINE __m256 exp8(__m256 x) {
    x = _mm256_min_ps(_mm256_set1_ps(89.0f), x);  // a NaN in the second operand passes
    x = _mm256_max_ps(_mm256_set1_ps(-104.0f), x);
    const __m256 magic = _mm256_set1_ps(0x1.8p+23f), one = _mm256_set1_ps(1.0f);
    const __m256 shifted = _mm256_fmadd_ps(x, _mm256_set1_ps(0x1.715476p+0f), magic);
    const __m256 n = _mm256_sub_ps(shifted, magic);
    __m256 r = _mm256_fnmadd_ps(n, _mm256_set1_ps(0x1.62e43p-1f), x);
    r = _mm256_fnmadd_ps(n, _mm256_set1_ps(-0x1.05c61p-29f), r);
    __m256 p = _mm256_fmadd_ps(_mm256_set1_ps(0x1.6d110ap-10f), r, _mm256_set1_ps(0x1.120b6ep-7f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(0x1.55551ap-5f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(0x1.5554dcp-3f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(0x1p-1f));
    p = _mm256_fmadd_ps(p, r, one);
    p = _mm256_fmadd_ps(p, r, one);
    const __m256i whole = _mm256_sub_epi32(_mm256_castps_si256(shifted), _mm256_castps_si256(magic));
    const __m256i half = _mm256_srai_epi32(whole, 1), bias = _mm256_set1_epi32(127);
    const __m256i scale1 = _mm256_slli_epi32(_mm256_add_epi32(half, bias), 23);
    const __m256i scale2 = _mm256_slli_epi32(_mm256_add_epi32(_mm256_sub_epi32(whole, half), bias), 23);
    return _mm256_mul_ps(_mm256_mul_ps(p, _mm256_castsi256_ps(scale1)), _mm256_castsi256_ps(scale2));
  }
  FATHOM_INLINE V exp(V x) { return {exp8(x.lo), exp8(x.hi)}; }

  /// Bits of the larger magnitude in each lane; as integers, so that NaN and infinity are the largest.
  FATHOM_INLINE V max_magnitude(V acc, V x) {
    const __m256 size = _mm256_castsi256_ps(_mm256_set1_epi32(0x7fffffff));
    const auto larger = [](__m256 a, __m256 b) {
      return _mm256_castsi256_ps(_mm256_max_epi32(_mm256_castps_si256(a), _mm256_castps_si256(b)));
    };
    return {larger(acc.lo, _mm256_and_ps(x.lo, size)), larger(acc.hi, _mm256_and_ps(x.hi, size))};
  }
  FATHOM_INLINE uint32_t fold_magnitude(V v) {
    const __m256i eight = _mm256_max_epi32(_mm256_castps_si256(v.lo), _mm256_castps_si256(v.hi));
    __m128i four = _mm_max_epi32(_mm256_castsi256_si128(eight), _mm256_extracti128_si256(eight, 1));
    four = _mm_max_epi32(four, _mm_shuffle_epi32(four, 0x4e));
    four = _mm_max_epi32(four, _mm_shuffle_epi32(four, 0xb1));
    return static_cast<uint32_t>(_mm_cvtsi128_si32(four));
  }
  /// Writes 16 values, rounded to the nearest even integers, as bytes; returns their sum.
  FATHOM_INLINE int store_int8(int8_t* q, V v) {
    const __m256i a = _mm256_cvtps_epi32(v.lo), b = _mm256_cvtps_epi32(v.hi);
    const __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32(a, b), 0xd8);
    const __m128i low = _mm256_castsi256_si128(words), high = _mm256_extracti128_si256(words, 1);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(q), _mm_packs_epi16(low, high));
    __m128i sum = _mm_madd_epi16(_mm_add_epi16(low, high), _mm_set1_epi16(1));
    sum = _mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0x4e));
    sum = _mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0xb1));
    return _mm_cvtsi128_si32(sum);
  }
  FATHOM_INLINE __m256i bf16_bits(__m256 x) {
    const __m256i u = _mm256_castps_si256(x), odd = _mm256_and_si256(_mm256_srli_epi32(u, 16), _mm256_set1_epi32(1));
    const __m256i rounded =
        _mm256_srli_epi32(_mm256_add_epi32(_mm256_add_epi32(u, _mm256_set1_epi32(0x7fff)), odd), 16);
    const __m256i quiet = _mm256_or_si256(_mm256_srli_epi32(u, 16), _mm256_set1_epi32(64));
    const __m256 nan = _mm256_cmp_ps(x, x, _CMP_UNORD_Q);
    return _mm256_blendv_epi8(rounded, quiet, _mm256_castps_si256(nan));
  }
  /// Rounds to bf16, nearest even; NaN becomes quiet.
  FATHOM_INLINE void store_bf16(uint16_t* p, V v) {
    const __m256i words = _mm256_packus_epi32(bf16_bits(v.lo), bf16_bits(v.hi));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm256_permute4x64_epi64(words, 0xd8));
  }
};

#undef FATHOM_INLINE

}  // namespace
}  // namespace fathom::avx2
