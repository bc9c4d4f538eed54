#include "kernels/ref/int8_blocks.h"

#include <algorithm>
#include <cstring>

#include "tensor/float_types.h"

namespace fathom::ref {
namespace {

constexpr int8_t kIq4Values[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
constexpr int8_t kE2M1Doubled[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

float read_f16(const uint8_t* p) {
  uint16_t bits;
  std::memcpy(&bits, p, 2);
  return f32_from_f16(bits);
}

/// Element i of 32 whose low nibbles are elements 0..15 of the 16 bytes and high nibbles elements 16..31.
int nibble(const uint8_t* qs, size_t i) { return i < 16 ? qs[i] & 15 : qs[i - 16] >> 4; }

void one_scale(Int8Block& out) {
  out.scale[0] = out.scale[1] = 1;
  out.minimum[0] = out.minimum[1] = 1;
}

void read_nibbles(Int8Block& out, const uint8_t* qs, int offset) {
  for (size_t i = 0; i < 32; ++i) out.w[i] = static_cast<int8_t>(nibble(qs, i) - offset);
}

void read_nibbles_and_fifth(Int8Block& out, const uint8_t* qh, const uint8_t* qs, int offset) {
  for (size_t i = 0; i < 32; ++i)
    out.w[i] = static_cast<int8_t>((nibble(qs, i) | ((qh[i / 8] >> (i % 8)) & 1) << 4) - offset);
}

void read_codes(Int8Block& out, const uint8_t* qs, const int8_t (&table)[16]) {
  for (size_t i = 0; i < 32; ++i) out.w[i] = table[nibble(qs, i)];
}

/// Scale and minimum of 6 bits each for 8 sub-blocks of 32, stored here for each 16 values.
void read_k_scales(Int8Block& out, const uint8_t* scales) {
  for (size_t j = 0; j < 8; ++j) {
    const int scale = j < 4 ? scales[j] & 63 : (scales[j + 4] & 15) | (scales[j - 4] >> 6) << 4;
    const int minimum = j < 4 ? scales[j + 4] & 63 : (scales[j + 4] >> 4) | (scales[j] >> 6) << 4;
    out.scale[2 * j] = out.scale[2 * j + 1] = static_cast<int16_t>(scale);
    out.minimum[2 * j] = out.minimum[2 * j + 1] = static_cast<int16_t>(minimum);
  }
}

void read_q2_k(Int8Block& out, const uint8_t* b) {
  for (size_t s = 0; s < 16; ++s) {
    out.scale[s] = b[s] & 15;
    out.minimum[s] = b[s] >> 4;
  }
  for (size_t i = 0; i < 256; ++i)
    out.w[i] = static_cast<int8_t>((b[16 + i / 128 * 32 + i % 32] >> (i / 32 % 4 * 2)) & 3);
  out.d = read_f16(b + 80), out.m = read_f16(b + 82), out.sign = -1;
}

void read_q3_k(Int8Block& out, const uint8_t* b) {
  const uint8_t *hmask = b, *qs = b + 32, *scales = b + 96;
  for (size_t i = 0; i < 256; ++i) {
    const size_t half = i / 128, j = i / 32 % 4, l = i % 32;
    const int low = (qs[32 * half + l] >> (2 * j)) & 3, high = (hmask[l] >> (4 * half + j)) & 1;
    out.w[i] = static_cast<int8_t>(low - (high ? 0 : 4));
  }
  for (size_t s = 0; s < 16; ++s) {
    const int low = s < 8 ? scales[s] & 15 : scales[s - 8] >> 4, high = (scales[8 + s % 4] >> (s / 4 * 2)) & 3;
    out.scale[s] = static_cast<int16_t>((low | high << 4) - 32);
  }
  out.d = read_f16(b + 108);
}

void read_q4_k(Int8Block& out, const uint8_t* b) {
  read_k_scales(out, b + 4);
  for (size_t i = 0; i < 256; ++i)
    out.w[i] = static_cast<int8_t>((b[16 + i / 64 * 32 + i % 32] >> (i / 32 % 2 * 4)) & 15);
  out.d = read_f16(b), out.m = read_f16(b + 2), out.sign = -1;
}

void read_q5_k(Int8Block& out, const uint8_t* b) {
  read_k_scales(out, b + 4);
  for (size_t i = 0; i < 256; ++i) {
    const int low = (b[48 + i / 64 * 32 + i % 32] >> (i / 32 % 2 * 4)) & 15, high = (b[16 + i % 32] >> (i / 32)) & 1;
    out.w[i] = static_cast<int8_t>(low | high << 4);
  }
  out.d = read_f16(b), out.m = read_f16(b + 2), out.sign = -1;
}

void read_q6_k(Int8Block& out, const uint8_t* b) {
  for (size_t i = 0; i < 256; ++i) {
    const size_t half = i / 128, quarter = i / 32 % 4, l = i % 32;
    const int low = (b[64 * half + l + quarter % 2 * 32] >> (quarter / 2 * 4)) & 15;
    const int high = (b[128 + 32 * half + l] >> (2 * quarter)) & 3;
    out.w[i] = static_cast<int8_t>((low | high << 4) - 32);
  }
  for (size_t s = 0; s < 16; ++s) out.scale[s] = static_cast<int8_t>(b[192 + s]);
  out.d = read_f16(b + 208);
}

void read_iq4_xs(Int8Block& out, const uint8_t* b) {
  const unsigned scales_h = b[2] | b[3] << 8;
  for (size_t s = 0; s < 8; ++s) {
    const unsigned low = (b[4 + s / 2] >> (s % 2 * 4)) & 15, high = (scales_h >> (2 * s)) & 3;
    out.scale[2 * s] = out.scale[2 * s + 1] = static_cast<int16_t>(static_cast<int>(low | high << 4) - 32);
    for (size_t i = 0; i < 32; ++i) out.w[32 * s + i] = kIq4Values[nibble(b + 8 + 16 * s, i)];
  }
  out.d = read_f16(b);
}

/// 2^(e - 128): subnormal below e = 2.
float mxfp4_scale(uint8_t e) { return f32_from_bits(e < 2 ? 0x200000u << e : static_cast<uint32_t>(e - 1) << 23); }

}  // namespace

void read_int8_block(Int8Block& out, DType type, const uint8_t* b) {
  out.d = out.m = 0;
  out.sign = 0;
  one_scale(out);
  switch (type) {
    case DType::kQ4_0: read_nibbles(out, b + 2, 8); break;
    case DType::kQ4_1: read_nibbles(out, b + 4, 0); break;
    case DType::kQ5_0: read_nibbles_and_fifth(out, b + 2, b + 6, 16); break;
    case DType::kQ5_1: read_nibbles_and_fifth(out, b + 4, b + 8, 0); break;
    case DType::kQ8_0: std::memcpy(out.w, b + 2, 32); break;
    case DType::kIQ4_NL: read_codes(out, b + 2, kIq4Values); break;
    case DType::kMXFP4:
      read_codes(out, b + 1, kE2M1Doubled);
      out.d = mxfp4_scale(b[0]);
      return;
    case DType::kQ2_K: return read_q2_k(out, b);
    case DType::kQ3_K: return read_q3_k(out, b);
    case DType::kQ4_K: return read_q4_k(out, b);
    case DType::kQ5_K: return read_q5_k(out, b);
    case DType::kQ6_K: return read_q6_k(out, b);
    case DType::kIQ4_XS: return read_iq4_xs(out, b);
    default: return;
  }
  out.d = read_f16(b);
  if (type == DType::kQ4_1 || type == DType::kQ5_1) out.m = read_f16(b + 2), out.sign = 1;
}

}  // namespace fathom::ref
