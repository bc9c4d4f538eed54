// f16, bf16 and FP8 e4m3 as bits, and their exact conversions (spec/gguf.md 4.2, spec/models.md 8.1).
// Integer arithmetic only, so every processor gives the same bits.
#pragma once
#include <bit>
#include <cmath>
#include <cstdint>

namespace fathom {

inline float f32_from_bits(uint32_t bits) { return std::bit_cast<float>(bits); }
inline uint32_t bits_of(float x) { return std::bit_cast<uint32_t>(x); }

inline float f32_from_bf16(uint16_t h) { return f32_from_bits(uint32_t{h} << 16); }

/// Round to nearest even; NaN becomes quiet, its sign and top bits kept.
inline uint16_t bf16_from_f32(float x) {
  const uint32_t u = bits_of(x);
  if ((u & 0x7fffffffu) > 0x7f800000u) return static_cast<uint16_t>((u >> 16) | 64);
  return static_cast<uint16_t>((u + 0x7fffu + ((u >> 16) & 1)) >> 16);
}

inline float f32_from_f16(uint16_t h) {
  const uint32_t sign = static_cast<uint32_t>(h & 0x8000u) << 16, exponent = (h >> 10) & 31, mantissa = h & 0x3ffu;
  if (exponent == 31) return f32_from_bits(sign | 0x7f800000u | (mantissa << 13));
  if (exponent != 0) return f32_from_bits(sign | ((exponent + 112) << 23) | (mantissa << 13));
  const float subnormal = static_cast<float>(mantissa) * 0x1p-24f;  // exact
  return f32_from_bits(sign | bits_of(subnormal));
}

/// IEEE round to nearest even with subnormals.
inline uint16_t f16_from_f32(float x) {
  const uint32_t u = bits_of(x), sign = (u >> 16) & 0x8000u, a = u & 0x7fffffffu;
  if (a > 0x7f800000u) return static_cast<uint16_t>(sign | 0x7e00u | ((a >> 13) & 0x3ffu));
  if (a >= 0x477ff000u) return static_cast<uint16_t>(sign | 0x7c00u);  // 65520 and above
  if (a < 0x38800000u) {
    // Subnormal result: adding 0.5 puts the unit 2^-24 at the last bit of the sum, which rounds to nearest even.
    const float sum = f32_from_bits(a) + 0.5f;
    return static_cast<uint16_t>(sign | (bits_of(sum) - 0x3f000000u));
  }
  const uint32_t rounded = a + 0xfffu + ((a >> 13) & 1);
  return static_cast<uint16_t>(sign | ((rounded - 0x38000000u) >> 13));
}

/// e4m3fn: 1 sign, 4 exponent (bias 7), 3 mantissa bits; no infinities, 0x7F and 0xFF are NaN.
inline float f32_from_f8e4m3(uint8_t b) {
  const uint32_t sign = static_cast<uint32_t>(b & 0x80u) << 24, exponent = (b >> 3) & 15, mantissa = b & 7u;
  if ((b & 0x7f) == 0x7f) return f32_from_bits(sign | 0x7fc00000u);
  if (exponent == 0) return f32_from_bits(sign | bits_of(static_cast<float>(mantissa) * 0x1p-9f));
  return f32_from_bits(sign | ((exponent + 120) << 23) | (mantissa << 20));
}

}  // namespace fathom
