// Packs 16 rows of quantised blocks as the file has them into groups (kernels/packed.h), with NEON.
#include <arm_neon.h>

#include "kernels/cpu/neon.h"
#include "kernels/cpu/simd_blocks.h"
#include "kernels/cpu/simd_neon.h"

namespace fathom::neon {
namespace {

using simd::Planes;
using Blocks = simd::Blocks<Simd>;

/// (v >> shift) & mask in every byte.
[[gnu::always_inline]] inline uint8x16_t field(uint8x16_t v, int shift, int mask) {
  return vandq_u8(vshlq_u8(v, vdupq_n_s8(static_cast<int8_t>(-shift))), vdupq_n_u8(static_cast<uint8_t>(mask)));
}
/// Bits 16 half .. + 15 of the 32 as 16 in byte i.
[[gnu::always_inline]] inline uint8x16_t fifth_bits(const uint8_t* p, int half) {
  static constexpr uint8_t kBit[16] = {1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128};
  const uint8x16_t spread = vcombine_u8(vdup_n_u8(p[2 * half]), vdup_n_u8(p[2 * half + 1]));
  return vandq_u8(vtstq_u8(spread, vld1q_u8(kBit)), vdupq_n_u8(16));
}

/// Values 32 g + 16 half .. + 15 of one block as codes in bytes (spec/gguf.md 4).
template <DType type>
[[gnu::always_inline]] inline uint8x16_t load16(const uint8_t* b, int g, int half) {
  const auto at = [&](int offset, int shift, int mask) { return field(vld1q_u8(b + offset + 16 * half), shift, mask); };
  const auto nibbles = [&](int offset) { return field(vld1q_u8(b + offset), 4 * half, 15); };
  if constexpr (type == DType::kQ4_0 || type == DType::kIQ4_NL) return nibbles(2);
  if constexpr (type == DType::kQ4_1) return nibbles(4);
  if constexpr (type == DType::kMXFP4) return nibbles(1);
  if constexpr (type == DType::kIQ4_XS) return nibbles(8 + 16 * g);
  if constexpr (type == DType::kQ5_0) return vorrq_u8(nibbles(6), fifth_bits(b + 2, half));
  if constexpr (type == DType::kQ5_1) return vorrq_u8(nibbles(8), fifth_bits(b + 4, half));
  if constexpr (type == DType::kQ8_0) return at(2, 0, 255);
  if constexpr (type == DType::kQ2_K) return at(16 + g / 4 * 32, g % 4 * 2, 3);
  if constexpr (type == DType::kQ3_K) return vorrq_u8(at(32 + g / 4 * 32, g % 4 * 2, 3), vshlq_n_u8(at(0, g, 1), 2));
  if constexpr (type == DType::kQ4_K) return at(16 + g / 2 * 32, g % 2 * 4, 15);
  if constexpr (type == DType::kQ5_K) return vorrq_u8(at(48 + g / 2 * 32, g % 2 * 4, 15), vshlq_n_u8(at(16, g, 1), 4));
  if constexpr (type == DType::kQ6_K)
    return vorrq_u8(at(64 * (g / 4) + g % 2 * 32, g % 4 / 2 * 4, 15),
                    vshlq_n_u8(at(128 + 32 * (g / 4), g % 4 * 2, 3), 4));
}

/// Four rows' 16 bytes to [4 steps of 4 values][row], rows 64 bytes apart at out: a transpose of dwords.
template <DType type>
[[gnu::always_inline]] inline void interleave(uint8_t* out, const uint8_t* src, size_t stride, int g, int half) {
  const auto row = [&](size_t r) { return vreinterpretq_u32_u8(load16<type>(src + r * stride, g, half)); };
  const uint32x4x2_t a = vzipq_u32(row(0), row(2)), b = vzipq_u32(row(1), row(3));
  const uint32x4x2_t low = vzipq_u32(a.val[0], b.val[0]), high = vzipq_u32(a.val[1], b.val[1]);
  vst1q_u8(out, vreinterpretq_u8_u32(low.val[0]));
  vst1q_u8(out + 64, vreinterpretq_u8_u32(low.val[1]));
  vst1q_u8(out + 128, vreinterpretq_u8_u32(high.val[0]));
  vst1q_u8(out + 192, vreinterpretq_u8_u32(high.val[1]));
}

/// Bits [first, first + bits) of the codes of 8 steps, in `bits` vectors of 16 rows.
template <int bits, int first>
[[gnu::always_inline]] inline void plane(uint8_t* out, const uint8_t* steps) {
  for (size_t v = 0; v < bits; ++v)
    for (size_t at = 64 * v; at < 64 * v + 64; at += 16) {
      uint8x16_t packed = vdupq_n_u8(0);
#pragma GCC unroll 8
      for (int i = 0; i < 8 / bits; ++i) {
        const uint8x16_t code =
            field(vld1q_u8(steps + at + static_cast<size_t>(64 * bits * i)), first, (1 << bits) - 1);
        packed = vorrq_u8(packed, vshlq_u8(code, vdupq_n_s8(static_cast<int8_t>(bits * i))));
      }
      vst1q_u8(out + at, packed);
    }
}

/// 16 x 16 bytes: four rounds that interleave row i with row i + 8.
void transpose_bytes(int8_t (&m)[16][16]) {
  int8_t other[16][16];
  for (int round = 0; round < 4; ++round) {
    auto& from = round % 2 == 0 ? m : other;
    auto& to = round % 2 == 0 ? other : m;
    for (size_t i = 0; i < 8; ++i) {
      const int8x16x2_t pair = vzipq_s8(vld1q_s8(from[i]), vld1q_s8(from[i + 8]));
      vst1q_s8(to[2 * i], pair.val[0]), vst1q_s8(to[2 * i + 1], pair.val[1]);
    }
  }
}

/// The integer scales of the 16 rows' blocks, and the minima after them, from [row][sub-block] to [sub-block][row].
template <DType type>
void scales(uint8_t* out, const uint8_t* src, size_t row_bytes) {
  constexpr size_t kBytes = 256 / simd::int8_traits<type>().sub_block * 16;
  int8_t scale[16][16], minimum[16][16];
  for (size_t r = 0; r < 16; ++r) Blocks::read_row_scales<type>(scale[r], minimum[r], src + r * row_bytes);
  transpose_bytes(scale);
  __builtin_memcpy(out, scale, kBytes);
  if constexpr (type != DType::kQ4_K && type != DType::kQ5_K) return;
  transpose_bytes(minimum);
  __builtin_memcpy(out + kBytes, minimum, kBytes);
}

/// One group from the blocks of 16 rows, row_bytes apart.
template <DType type>
void group(uint8_t* out, const uint8_t* src, size_t row_bytes) {
  constexpr Planes kAt = simd::planes<type>();
  Blocks::factors<type>(out, src, row_bytes);
  if constexpr (simd::has_sub_blocks<type>()) scales<type>(out + kAt.scales, src, row_bytes);
  for (size_t g = 0; g < kAt.values / 32; ++g) {
    uint8_t steps[8 * 64];
    for (size_t r = 0; r < 16; r += 4)
      for (int half = 0; half < 2; ++half)
        interleave<type>(steps + 256 * half + 4 * r, src + r * row_bytes, row_bytes, static_cast<int>(g), half);
    plane<kAt.code_bits, 0>(out + kAt.codes + g * kAt.stride32, steps);
    if constexpr (kAt.high_bits != 0) plane<kAt.high_bits, kAt.code_bits>(out + kAt.high + g * kAt.stride32, steps);
  }
}

template <DType type>
void pack(std::byte* out, const std::byte* rows, size_t row_bytes, size_t blocks) {
  for (size_t b = 0; b < blocks; ++b)
    group<type>(reinterpret_cast<uint8_t*>(out) + b * simd::planes<type>().bytes,
                reinterpret_cast<const uint8_t*>(rows) + b * simd::block_bytes<type>(), row_bytes);
}

}  // namespace

void pack_rows(std::byte* out, DType type, const std::byte* rows, size_t row_bytes, size_t n, size_t blocks) {
  if (n != kPanelRows) return fathom::pack_rows(out, type, rows, row_bytes, n, blocks);
  switch (type) {
    case DType::kQ4_0: return pack<DType::kQ4_0>(out, rows, row_bytes, blocks);
    case DType::kQ4_1: return pack<DType::kQ4_1>(out, rows, row_bytes, blocks);
    case DType::kQ5_0: return pack<DType::kQ5_0>(out, rows, row_bytes, blocks);
    case DType::kQ5_1: return pack<DType::kQ5_1>(out, rows, row_bytes, blocks);
    case DType::kQ8_0: return pack<DType::kQ8_0>(out, rows, row_bytes, blocks);
    case DType::kIQ4_NL: return pack<DType::kIQ4_NL>(out, rows, row_bytes, blocks);
    case DType::kMXFP4: return pack<DType::kMXFP4>(out, rows, row_bytes, blocks);
    case DType::kQ2_K: return pack<DType::kQ2_K>(out, rows, row_bytes, blocks);
    case DType::kQ3_K: return pack<DType::kQ3_K>(out, rows, row_bytes, blocks);
    case DType::kQ4_K: return pack<DType::kQ4_K>(out, rows, row_bytes, blocks);
    case DType::kQ5_K: return pack<DType::kQ5_K>(out, rows, row_bytes, blocks);
    case DType::kQ6_K: return pack<DType::kQ6_K>(out, rows, row_bytes, blocks);
    case DType::kIQ4_XS: return pack<DType::kIQ4_XS>(out, rows, row_bytes, blocks);
    default: return fathom::pack_rows(out, type, rows, row_bytes, n, blocks);
  }
}

}  // namespace fathom::neon
