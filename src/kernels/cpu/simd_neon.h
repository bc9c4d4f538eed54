// Sixteen f32 lanes on NEON: the vector type under cpu/simd_*.h. Included by neon_*.cc alone. Everything here is a
// member of a class in an anonymous namespace, so that no template made from it is shared with code for another
// processor (style.md 8). What the members compute is written at simd_avx2.h's.
#pragma once
#include <arm_neon.h>

#include <cstddef>
#include <cstdint>

namespace fathom::neon {
namespace {

#define FATHOM_INLINE [[gnu::always_inline]] static inline

struct Simd {
  struct V {
    float32x4_t a, b, c, d;
  };
  static constexpr int kLinearRows = 6;      ///< rows of activations that linear_exact holds in registers
  static constexpr int kTile = 4;            ///< accumulators of MLA's attention
  static constexpr int kAttentionHeads = 4;  ///< that read keys and values together

  /// f of each quarter.
  template <class F, class... Vs>
  FATHOM_INLINE V each(const F& f, const Vs&... v) {
    return {f(v.a...), f(v.b...), f(v.c...), f(v.d...)};
  }

  FATHOM_INLINE V set1(float x) {
    const float32x4_t v = vdupq_n_f32(x);
    return {v, v, v, v};
  }
  FATHOM_INLINE V zero() { return set1(0); }
  FATHOM_INLINE V load(const float* p) { return {vld1q_f32(p), vld1q_f32(p + 4), vld1q_f32(p + 8), vld1q_f32(p + 12)}; }
  FATHOM_INLINE void store(float* p, V v) {
    vst1q_f32(p, v.a), vst1q_f32(p + 4, v.b), vst1q_f32(p + 8, v.c), vst1q_f32(p + 12, v.d);
  }
  /// The first n <= 16 lanes; the others are 0 and their memory is not touched.
  FATHOM_INLINE V load_n(const float* p, size_t n) {
    if (n == 16) return load(p);
    float lanes[16] = {};
    __builtin_memcpy(lanes, p, n * sizeof(float));
    return load(lanes);
  }
  FATHOM_INLINE void store_n(float* p, V v, size_t n) {
    if (n == 16) return store(p, v);
    float lanes[16];
    store(lanes, v);
    __builtin_memcpy(p, lanes, n * sizeof(float));
  }
  /// a in the lanes i < n, b in the others.
  FATHOM_INLINE V select_n(size_t n, V a, V b) {
    if (n == 16) return a;
    static constexpr uint32_t kIndex[4] = {0, 1, 2, 3};
    const uint32x4_t index = vld1q_u32(kIndex), end = vdupq_n_u32(static_cast<uint32_t>(n));
    const auto below = [&](uint32_t first) { return vcltq_u32(vaddq_u32(index, vdupq_n_u32(first)), end); };
    return {vbslq_f32(below(0), a.a, b.a), vbslq_f32(below(4), a.b, b.b), vbslq_f32(below(8), a.c, b.c),
            vbslq_f32(below(12), a.d, b.d)};
  }

  FATHOM_INLINE V add(V a, V b) {
    return each([](float32x4_t x, float32x4_t y) { return vaddq_f32(x, y); }, a, b);
  }
  FATHOM_INLINE V sub(V a, V b) {
    return each([](float32x4_t x, float32x4_t y) { return vsubq_f32(x, y); }, a, b);
  }
  FATHOM_INLINE V mul(V a, V b) {
    return each([](float32x4_t x, float32x4_t y) { return vmulq_f32(x, y); }, a, b);
  }
  FATHOM_INLINE V div(V a, V b) {
    return each([](float32x4_t x, float32x4_t y) { return vdivq_f32(x, y); }, a, b);
  }
  FATHOM_INLINE V fma(V a, V b, V c) {
    return each([](float32x4_t z, float32x4_t x, float32x4_t y) { return vfmaq_f32(z, x, y); }, c, a, b);
  }
  FATHOM_INLINE V fnma(V a, V b, V c) {
    return each([](float32x4_t z, float32x4_t x, float32x4_t y) { return vfmsq_f32(z, x, y); }, c, a, b);
  }
  FATHOM_INLINE V negate(V a) {
    return each([](float32x4_t x) { return vnegq_f32(x); }, a);
  }
  /// a > b ? a : b, so b where either is a NaN; vmaxq_f32 would give the NaN.
  FATHOM_INLINE float32x4_t max4(float32x4_t a, float32x4_t b) { return vbslq_f32(vcgtq_f32(a, b), a, b); }
  FATHOM_INLINE float32x4_t min4(float32x4_t a, float32x4_t b) { return vbslq_f32(vcltq_f32(a, b), a, b); }
  FATHOM_INLINE V max(V a, V b) { return each(max4, a, b); }

  /// s[j] += s[j + 8], then +4, +2, +1.
  FATHOM_INLINE float fold(V v) {
    const float32x4_t four = vaddq_f32(vaddq_f32(v.a, v.c), vaddq_f32(v.b, v.d));
    const float32x2_t two = vadd_f32(vget_low_f32(four), vget_high_f32(four));
    return vget_lane_f32(two, 0) + vget_lane_f32(two, 1);
  }
  FATHOM_INLINE float fold_max(V v) {
    float lanes[4];
    vst1q_f32(lanes, max4(max4(v.a, v.c), max4(v.b, v.d)));
    const float even = lanes[0] > lanes[2] ? lanes[0] : lanes[2], odd = lanes[1] > lanes[3] ? lanes[1] : lanes[3];
    return even > odd ? even : odd;
  }
  FATHOM_INLINE float sqrt1(float x) { return vget_lane_f32(vsqrt_f32(vdup_n_f32(x)), 0); }

  FATHOM_INLINE V load_bf16(const uint16_t* p) {
    const uint16x8_t low = vld1q_u16(p), high = vld1q_u16(p + 8);
    const auto wide = [](uint16x4_t bits) { return vreinterpretq_f32_u32(vshll_n_u16(bits, 16)); };
    return {wide(vget_low_u16(low)), wide(vget_high_u16(low)), wide(vget_low_u16(high)), wide(vget_high_u16(high))};
  }
  FATHOM_INLINE V from_i8(int8x16_t v) {
    const int16x8_t low = vmovl_s8(vget_low_s8(v)), high = vmovl_high_s8(v);
    const auto wide = [](int16x4_t words) { return vcvtq_f32_s32(vmovl_s16(words)); };
    return {wide(vget_low_s16(low)), wide(vget_high_s16(low)), wide(vget_low_s16(high)), wide(vget_high_s16(high))};
  }
  FATHOM_INLINE V load_i8(const int8_t* p) { return from_i8(vld1q_s8(p)); }
  FATHOM_INLINE V from_f16(uint16x8_t low, uint16x8_t high) {
    const auto wide = [](uint16x4_t bits) { return vcvt_f32_f16(vreinterpret_f16_u16(bits)); };
    return {wide(vget_low_u16(low)), wide(vget_high_u16(low)), wide(vget_low_u16(high)), wide(vget_high_u16(high))};
  }
  FATHOM_INLINE V load_f16(const uint16_t* p) { return from_f16(vld1q_u16(p), vld1q_u16(p + 8)); }

  /// 16 e4m3 as f32, by way of f16: in its place the bits are 2^-8 times the value, subnormal ones too.
  FATHOM_INLINE V load_f8(const uint8_t* p) {
    const uint8x16_t b = vld1q_u8(p);
    const auto half = [](uint16x8_t v) {
      const uint16x8_t limit = vdupq_n_u16(0x7f), size = vandq_u16(v, limit);
      const uint16x8_t nan = vandq_u16(vceqq_u16(size, limit), vdupq_n_u16(0x7e00));
      return vorrq_u16(vorrq_u16(vshlq_n_u16(size, 7), vshlq_n_u16(vsubq_u16(v, size), 8)), nan);
    };
    return mul(from_f16(half(vmovl_u8(vget_low_u8(b))), half(vmovl_high_u8(b))), set1(0x1p8f));
  }
  /// Byte j of each of 16 dwords as f32; neon_unpack.h has taken the offset off.
  FATHOM_INLINE V byte_of_dwords(const void* p, int j, int) {
    const auto* words = static_cast<const int32_t*>(p);
    const int32x4_t to_top = vdupq_n_s32(24 - 8 * j);
    const auto one = [&](const int32_t* at) {
      return vcvtq_f32_s32(vshrq_n_s32(vshlq_s32(vld1q_s32(at), to_top), 24));
    };
    return {one(words), one(words + 4), one(words + 8), one(words + 12)};
  }
  FATHOM_INLINE V load_scales(const int32_t* p) {
    const auto one = [](const int32_t* at) { return vcvtq_f32_s32(vld1q_s32(at)); };
    return {one(p), one(p + 4), one(p + 8), one(p + 12)};
  }
  /// Of 32 int16 the first 16 or the last (neon_unpack.h) as f32.
  FATHOM_INLINE V half_of_dwords(const int16_t* p, size_t half) {
    const auto one = [](const int16_t* at) { return vcvtq_f32_s32(vmovl_s16(vld1_s16(at))); };
    p += 16 * half;
    return {one(p), one(p + 4), one(p + 8), one(p + 12)};
  }

  /// The operations of ref::exp, lane by lane.
  FATHOM_INLINE float32x4_t exp4(float32x4_t x) {
    x = min4(vdupq_n_f32(89.0f), x);  // a NaN in the second operand passes
    x = max4(vdupq_n_f32(-104.0f), x);
    const float32x4_t magic = vdupq_n_f32(0x1.8p+23f), one = vdupq_n_f32(1.0f);
    const float32x4_t shifted = vfmaq_f32(magic, x, vdupq_n_f32(0x1.715476p+0f));
    const float32x4_t n = vsubq_f32(shifted, magic);
    float32x4_t r = vfmsq_f32(x, n, vdupq_n_f32(0x1.62e43p-1f));
    r = vfmsq_f32(r, n, vdupq_n_f32(-0x1.05c61p-29f));
    float32x4_t p = vfmaq_f32(vdupq_n_f32(0x1.120b6ep-7f), vdupq_n_f32(0x1.6d110ap-10f), r);
    p = vfmaq_f32(vdupq_n_f32(0x1.55551ap-5f), p, r);
    p = vfmaq_f32(vdupq_n_f32(0x1.5554dcp-3f), p, r);
    p = vfmaq_f32(vdupq_n_f32(0x1p-1f), p, r);
    p = vfmaq_f32(one, p, r);
    p = vfmaq_f32(one, p, r);
    const int32x4_t whole = vsubq_s32(vreinterpretq_s32_f32(shifted), vreinterpretq_s32_f32(magic));
    const int32x4_t half = vshrq_n_s32(whole, 1), bias = vdupq_n_s32(127);
    const int32x4_t scale1 = vshlq_n_s32(vaddq_s32(half, bias), 23);
    const int32x4_t scale2 = vshlq_n_s32(vaddq_s32(vsubq_s32(whole, half), bias), 23);
    return vmulq_f32(vmulq_f32(p, vreinterpretq_f32_s32(scale1)), vreinterpretq_f32_s32(scale2));
  }
  FATHOM_INLINE V exp(V x) { return each(exp4, x); }

  /// Bits of the larger magnitude in each lane; as integers, so that NaN and infinity are the largest.
  FATHOM_INLINE float32x4_t max_magnitude4(float32x4_t acc, float32x4_t x) {
    const uint32x4_t size = vandq_u32(vreinterpretq_u32_f32(x), vdupq_n_u32(0x7fffffff));
    return vreinterpretq_f32_u32(vmaxq_u32(vreinterpretq_u32_f32(acc), size));
  }
  FATHOM_INLINE V max_magnitude(V acc, V x) { return each(max_magnitude4, acc, x); }
  FATHOM_INLINE uint32_t fold_magnitude(V v) {
    return vmaxvq_u32(vreinterpretq_u32_f32(max_magnitude4(max_magnitude4(v.a, v.b), max_magnitude4(v.c, v.d))));
  }
  /// Writes 16 values, rounded to the nearest even integers, as bytes; returns their sum.
  FATHOM_INLINE int store_int8(int8_t* q, V v) {
    const auto words = [](float32x4_t low, float32x4_t high) {
      return vcombine_s16(vmovn_s32(vcvtnq_s32_f32(low)), vmovn_s32(vcvtnq_s32_f32(high)));
    };
    const int8x16_t bytes = vcombine_s8(vmovn_s16(words(v.a, v.b)), vmovn_s16(words(v.c, v.d)));
    vst1q_s8(q, bytes);
    return vaddlvq_s8(bytes);
  }
  FATHOM_INLINE uint16x4_t bf16_bits(float32x4_t x) {
    const uint32x4_t u = vreinterpretq_u32_f32(x), top = vshrq_n_u32(u, 16);
    const uint32x4_t odd = vandq_u32(top, vdupq_n_u32(1));
    const uint32x4_t rounded = vshrq_n_u32(vaddq_u32(vaddq_u32(u, vdupq_n_u32(0x7fff)), odd), 16);
    const uint32x4_t number = vceqq_f32(x, x);
    return vmovn_u32(vbslq_u32(number, rounded, vorrq_u32(top, vdupq_n_u32(64))));
  }
  /// Rounds to bf16, nearest even; NaN becomes quiet.
  FATHOM_INLINE void store_bf16(uint16_t* p, V v) {
    vst1q_u16(p, vcombine_u16(bf16_bits(v.a), bf16_bits(v.b)));
    vst1q_u16(p + 8, vcombine_u16(bf16_bits(v.c), bf16_bits(v.d)));
  }
};

#undef FATHOM_INLINE

}  // namespace
}  // namespace fathom::neon
