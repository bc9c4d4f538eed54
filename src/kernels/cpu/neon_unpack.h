// Packed groups (kernels/packed.h) as bytes with lanes over rows, with NEON: vector by vector, or a whole slice of a
// panel (simd_planes.h) at once. Bytes are signed here, every type's offset taken off, and of a slice's `secondary`,
// which only types with integer minima have, the first 16 int16 belong to the first sub-block, the last to the other.
// Included by neon_*.cc alone. Pure functions over the caller's memory, any thread.
#pragma once
#include <arm_neon.h>

#include <cstddef>
#include <cstdint>

#include "kernels/cpu/simd_neon.h"
#include "kernels/cpu/simd_planes.h"

namespace fathom::simd {

template <>
struct Unpack<neon::Simd> {
  /// `blocks` groups from src on: one of 256 values, or up to 8 of 32.
  template <DType type, bool = true>
  static void slice(PanelSlice& out, const uint8_t* src, size_t blocks) {
    constexpr Planes kAt = planes<type>();
    constexpr Int8Traits kTraits = int8_traits<type>();
    if constexpr (has_sub_blocks<type>()) {
      constexpr size_t kPerGroup = 32 / kTraits.sub_block;
      for (size_t s = 0; s < 8 * kPerGroup; ++s)
        for (size_t r = 0; r < 16; r += 8) {
          const int16x8_t scale = scales8<type>(src, s, r);
          vst1q_s32(&out.scale[s][r], vmovl_s16(vget_low_s16(scale)));
          vst1q_s32(&out.scale[s][r + 4], vmovl_high_s16(scale));
          if constexpr (kTraits.minimum != 0) vst1q_s16(&out.secondary[0][0][0] + 16 * s + r, minima8<type>(src, s, r));
        }
    }
    for (size_t b = 0; b < blocks; ++b, src += kAt.bytes) {
      for (size_t r = 0; r < 16; r += 4) {
        vst1q_f32(&out.d[b][r], d4<type>(src, r));
        if constexpr (kTraits.minimum != 0) vst1q_f32(&out.m[b][r], m4<type>(src, r));
      }
      for (size_t g = 0; g < kAt.values / 32; ++g)
        for (size_t r = 0; r < 16; r += 4) group<type>(&out.w[8 * (b + g)][r][0], src, g, r);
    }
  }

  // ---- of one group, for the four or eight rows from r on

  /// Values 32 g + 4 step .. + 3 of each row.
  template <DType type, int step>
  [[gnu::always_inline]] static inline int8x16_t codes4(const uint8_t* group, size_t g, size_t r) {
    constexpr Planes kAt = planes<type>();
    constexpr int kOffset = int8_traits<type>().offset;
    const uint8x16_t code = field4<kAt.code_bits, step>(group + kAt.codes + g * kAt.stride32, r);
    if constexpr (type == DType::kQ8_0) {
      return vreinterpretq_s8_u8(code);
    } else if constexpr (type == DType::kIQ4_NL || type == DType::kIQ4_XS) {
      static constexpr int8_t kValues[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
      return vqtbl1q_s8(vld1q_s8(kValues), code);
    } else if constexpr (type == DType::kMXFP4) {
      static constexpr int8_t kDoubled[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};
      return vqtbl1q_s8(vld1q_s8(kDoubled), code);
    } else {
      uint8x16_t whole = code;
      if constexpr (kAt.high_bits != 0) {
        const uint8x16_t high = field4<kAt.high_bits, step>(group + kAt.high + g * kAt.stride32, r);
        whole = vorrq_u8(code, vshlq_n_u8(high, kAt.code_bits));
      }
      if constexpr (kOffset != 0) whole = vsubq_u8(whole, vdupq_n_u8(kOffset));
      return vreinterpretq_s8_u8(whole);
    }
  }
  /// Scales of sub-block s.
  template <DType type>
  [[gnu::always_inline]] static inline int16x8_t scales8(const uint8_t* group, size_t s, size_t r) {
    uint8x8_t bytes = vld1_u8(group + planes<type>().scales + 16 * s + r);
    if constexpr (type == DType::kQ2_K) bytes = vand_u8(bytes, vdup_n_u8(15));
    return vmovl_s8(vreinterpret_s8_u8(bytes));
  }
  /// Minima of sub-block s.
  template <DType type>
  [[gnu::always_inline]] static inline int16x8_t minima8(const uint8_t* group, size_t s, size_t r) {
    constexpr Planes kAt = planes<type>();
    uint8x8_t bytes = vld1_u8(group + (type == DType::kQ2_K ? kAt.scales : kAt.minima) + 16 * s + r);
    if constexpr (type == DType::kQ2_K) bytes = vshr_n_u8(bytes, 4);
    return vmovl_s8(vreinterpret_s8_u8(bytes));
  }
  template <DType type>
  [[gnu::always_inline]] static inline float32x4_t d4(const uint8_t* group, size_t r) {
    if constexpr (type != DType::kMXFP4) return halves4(group + 2 * r);
    // 2^(e - 128): subnormal below e = 2
    uint32_t bytes;
    __builtin_memcpy(&bytes, group + r, 4);
    const uint8x8_t four = vreinterpret_u8_u32(vdup_n_u32(bytes));
    const int32x4_t e = vreinterpretq_s32_u32(vmovl_u16(vget_low_u16(vmovl_u8(four))));
    const int32x4_t normal = vshlq_n_s32(vsubq_s32(e, vdupq_n_s32(1)), 23);
    const int32x4_t tiny = vshlq_s32(vdupq_n_s32(0x200000), e);
    return vreinterpretq_f32_s32(vbslq_s32(vcltq_s32(e, vdupq_n_s32(2)), tiny, normal));
  }
  template <DType type>
  [[gnu::always_inline]] static inline float32x4_t m4(const uint8_t* group, size_t r) {
    return halves4(group + planes<type>().m + 2 * r);
  }

 private:
  /// The eight steps of group of 32 g, rows 64 bytes apart.
  template <DType type>
  [[gnu::always_inline]] static inline void group(uint8_t* out, const uint8_t* src, size_t g, size_t r) {
    const auto one = [&]<int step>() __attribute__((always_inline)) {
      const uint8x16_t bytes = vreinterpretq_u8_s8(codes4<type, step>(src, g, r));
      vst1q_u8(out + 64 * step, bytes);
    };
    const auto steps = [&]<int... step>(Steps<step...>) __attribute__((always_inline)) {
      (one.template operator()<step>(), ...);
    };
    steps(Steps<0, 1, 2, 3, 4, 5, 6, 7>{});
  }
  template <int... step>
  struct Steps {};

  [[gnu::always_inline]] static inline float32x4_t halves4(const uint8_t* p) {
    return vcvt_f32_f16(vreinterpret_f16_u8(vld1_u8(p)));
  }
  /// The bits of step `step` of 32 values that begin at src.
  template <int bits, int step>
  [[gnu::always_inline]] static inline uint8x16_t field4(const uint8_t* src, size_t r) {
    constexpr int kShift = step / bits * bits;
    uint8x16_t v = vld1q_u8(src + step % bits * 64 + 4 * r);
    if constexpr (bits == 8) return v;
    if constexpr (kShift != 0) v = vshrq_n_u8(v, kShift);
    if constexpr (kShift + bits < 8) v = vandq_u8(v, vdupq_n_u8((1 << bits) - 1));
    return v;
  }
};

}  // namespace fathom::simd
