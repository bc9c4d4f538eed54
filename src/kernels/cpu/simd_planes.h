// What the integer weights of packed groups (kernels/packed.h) look like, as constants, and a slice of a panel (16
// rows, up to 256 values of k) unpacked to bytes with lanes over rows. Unpack makes it: simd_unpack.h with AVX2,
// neon_unpack.h with NEON. The products of simd_linear.h and *_int8.cc read it. Pure functions, any thread.
#pragma once
#include <cstddef>
#include <cstdint>

#include "kernels/kernels.h"

namespace fathom::simd {

inline constexpr size_t kSliceValues = 256;

/// What a type's integer weights look like. Value = d * scale * (byte - offset), then + m or - m * minimum.
struct Int8Traits {
  int offset;     ///< taken off the stored byte; 128: the weight uses the whole signed range
  int sub_block;  ///< values that share an integer scale; 32 for blocks of 32, which have none
  int pair_sums;  ///< how many sums of two products with activations up to 127 fit into int16 together
  int minimum;    ///< 0 none, 1 plus m (per 32 values), -1 minus m times an integer per sub-block
};

template <DType type>
consteval Int8Traits int8_traits() {
  switch (type) {
    case DType::kQ4_0: return {8, 32, 8, 0};
    case DType::kQ4_1: return {0, 32, 8, 1};
    case DType::kQ5_0: return {16, 32, 4, 0};
    case DType::kQ5_1: return {0, 32, 4, 1};
    case DType::kMXFP4: return {12, 32, 4, 0};
    case DType::kQ2_K: return {0, 16, 4, -1};
    case DType::kQ3_K: return {4, 16, 4, 0};
    case DType::kQ4_K: return {0, 32, 8, -1};
    case DType::kQ5_K: return {0, 32, 4, -1};
    case DType::kQ6_K: return {32, 16, 2, 0};
    default: return {128, 32, 1, 0};  // Q8_0, IQ4_NL, IQ4_XS
  }
}

template <DType type>
consteval bool has_sub_blocks() {
  return type == DType::kQ2_K || type == DType::kQ3_K || type == DType::kQ4_K || type == DType::kQ5_K ||
         type == DType::kQ6_K || type == DType::kIQ4_XS;
}

/// Offsets of a group's planes, and the bits of its codes (kernels/packed.cc has the same by value). Codes and high
/// bits of the next 32 values are stride32 on.
struct Planes {
  size_t m, scales, minima, codes, high, stride32, bytes, values;
  int code_bits, high_bits;
};

template <DType type>
consteval Planes planes() {
  constexpr Int8Traits kTraits = int8_traits<type>();
  constexpr bool kSubs = has_sub_blocks<type>(), kK = type == DType::kQ4_K || type == DType::kQ5_K;
  constexpr bool kTwoBits = type == DType::kQ2_K || type == DType::kQ3_K;
  constexpr bool kFifth = type == DType::kQ5_0 || type == DType::kQ5_1 || type == DType::kQ5_K || type == DType::kQ3_K;
  Planes at{};
  at.values = kSubs ? 256 : 32;
  at.code_bits = type == DType::kQ8_0 ? 8 : kTwoBits ? 2 : 4;
  at.high_bits = kFifth ? 1 : type == DType::kQ6_K ? 2 : 0;
  at.m = type == DType::kMXFP4 ? 16 : 32;
  at.scales = at.m + (kTraits.minimum != 0 ? 32 : 0);
  at.minima = at.scales + (kSubs ? 256 / static_cast<size_t>(kTraits.sub_block) * 16 : 0);
  at.codes = at.minima + (kK ? 128 : 0);
  at.high = at.codes + 64 * static_cast<size_t>(at.code_bits);
  at.stride32 = 64 * static_cast<size_t>(at.code_bits + at.high_bits);
  at.bytes = at.codes + at.values / 32 * at.stride32;
  return at;
}

struct alignas(64) PanelSlice {
  uint8_t w[kSliceValues / 4][16][4];  ///< [k / 4][row][k % 4]
  int32_t scale[16][16];               ///< [sub-block][row]; the number, or twice as int16 halves (S::kTwinScales)
  int16_t secondary[8][16][2];         ///< [s / 2][row][s % 2] of sub-block s: what its sum of q is multiplied with
  float d[8][16];                      ///< [block][row]
  float m[8][16];
};

/// S is private to the including file, and so is what is made from it.
template <class S>
struct Unpack;

}  // namespace fathom::simd
