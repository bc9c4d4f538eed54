// The quantised blocks of a file (spec/gguf.md 4) as the packing of simd_pack.h and neon_pack.cc reads them: their
// sizes, factors and integer scales. S is private to the including file, so these templates are too. Pure functions
// over the caller's memory, any thread.
#pragma once
#include <cstddef>
#include <cstdint>

#include "kernels/cpu/simd_planes.h"

namespace fathom::simd {

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

template <class S>
struct Blocks {
  [[gnu::always_inline]] static inline uint32_t u32(const uint8_t* p) {
    uint32_t bits;
    __builtin_memcpy(&bits, p, 4);
    return bits;
  }

  /// d and m of the 16 rows' blocks, row_bytes apart, to their planes.
  template <DType type>
  static void factors(uint8_t* out, const uint8_t* src, size_t row_bytes) {
    constexpr Planes kAt = planes<type>();
    constexpr size_t kBytes = type == DType::kMXFP4 ? 1 : 2;
    constexpr size_t kD = type == DType::kQ2_K ? 80 : type == DType::kQ3_K ? 108 : type == DType::kQ6_K ? 208 : 0;
    for (size_t r = 0; r < 16; ++r) {
      const uint8_t* d = src + r * row_bytes + kD;
      __builtin_memcpy(out + kBytes * r, d, kBytes);
      if constexpr (int8_traits<type>().minimum != 0) __builtin_memcpy(out + kAt.m + 2 * r, d + 2, 2);
    }
  }

  /// One block's integer scales, and its minima where the type has a plane of them.
  template <DType type>
  [[gnu::always_inline]] static inline void read_row_scales(int8_t* scale, int8_t* minimum, const uint8_t* b) {
    if constexpr (type == DType::kQ2_K) {
      __builtin_memcpy(scale, b, 16);  // scale and minimum in one byte
    } else if constexpr (type == DType::kQ3_K) {
      read_q3_scales(scale, b + 96);
    } else if constexpr (type == DType::kQ6_K) {
      __builtin_memcpy(scale, b + 192, 16);
    } else if constexpr (type == DType::kIQ4_XS) {
      const unsigned high = b[2] | static_cast<unsigned>(b[3]) << 8;
      for (size_t s = 0; s < 8; ++s)
        scale[s] = static_cast<int8_t>(((b[4 + s / 2] >> (s % 2 * 4) & 15) | (high >> (2 * s) & 3) << 4) - 32);
      __builtin_memset(scale + 8, 0, 8);
    } else {
      read_k_scales(scale, minimum, b + 4);
    }
  }

 private:
  /// 16 scales of 6 bits: low nibbles in bytes 0 to 7, high pairs in bytes 8 to 11; minus 32.
  [[gnu::always_inline]] static inline void read_q3_scales(int8_t* scale, const uint8_t* p) {
    const uint32_t a = u32(p), b = u32(p + 4), high = u32(p + 8), nibble = 0x0f0f0f0fu, two = 0x03030303u;
    const uint32_t words[4] = {(a & nibble) | (high & two) << 4, (b & nibble) | (high >> 2 & two) << 4,
                               (a >> 4 & nibble) | (high >> 4 & two) << 4, (b >> 4 & nibble) | (high >> 6 & two) << 4};
    __builtin_memcpy(scale, words, 16);
    for (int i = 0; i < 16; ++i) scale[i] = static_cast<int8_t>(scale[i] - 32);
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
