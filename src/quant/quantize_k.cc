// The block writers of Q2_K to Q6_K (spec/gguf.md 4.3 to 4.7 and 4.9): a search per group of 16 or 32 values, then the
// choice of the block's factors and integer scales.
#include "quant/quantize_blocks.h"
#include "quant/quantize_superblock.h"

namespace fathom::quant_detail {
namespace {

constexpr size_t kBlock = 256;

/// w = base + |x|, base the root of the group's mean square, or 0.
template <class Block>
void weigh_by_magnitude(Block& block, bool with_base) {
  for (size_t j = 0; j < std::size(block.x); ++j) {
    const float count = static_cast<float>(4 * block.x[j].kLanes);
    const Lanes base = splat(with_base ? std::sqrt(sum_of_squares(block.x[j]) / count) : 0);
    for (size_t i = 0; i < block.x[j].kLanes; ++i) block.w[j].lanes[i] = base + magnitude(block.x[j].lanes[i]);
  }
}

/// Factors d and dmin from the largest scale and min of the groups, then both are improved.
template <int kTop, bool kAbsoluteSearch, class Block>
void choose_affine(Block& block, const AffineGrids& grids, const ScaleLimits& limits) {
  std::array<Affine, std::size(Block{}.x)> fit;
  float largest_scale = 0, largest_min = 0;
  for (size_t j = 0; j < fit.size(); ++j) {
    fit[j] = search_affine<kTop, kAbsoluteSearch, false>(block.x[j], block.w[j], grids);
    largest_scale = std::max(largest_scale, fit[j].scale);
    largest_min = std::max(largest_min, -fit[j].offset);
  }
  for (int k = 0; k < kStarts; ++k)
    block.start(fit, limits, through_half(largest_scale / static_cast<float>(limits.highest - k)),
                through_half(largest_min / static_cast<float>(limits.highest_min - k)));
  block.improve(limits);
}

// --- Layouts
// ----------------------------------------------------------------------------------------------------------

/// Two bits a value: 128 values in 32 bytes, value 32 j + l in bits 2 j of byte l.
void pack_two_bits(const uint8_t* codes, uint8_t* out) {
  for (size_t half = 0; half < 2; ++half, codes += 128, out += 32)
    for (size_t l = 0; l < 32; ++l)
      out[l] = static_cast<uint8_t>((codes[l] & 3) | (codes[l + 32] & 3) << 2 | (codes[l + 64] & 3) << 4 |
                                    (codes[l + 96] & 3) << 6);
}

/// Four bits a value: 64 values in 32 bytes, the first 32 in the low nibbles.
void pack_nibbles(const uint8_t* codes, uint8_t* out) {
  for (size_t g = 0; g < 4; ++g, codes += 64, out += 32)
    for (size_t l = 0; l < 32; ++l) out[l] = static_cast<uint8_t>((codes[l] & 15) | (codes[l + 32] & 15) << 4);
}

/// Eight scales and mins of 6 bits in 12 bytes (spec/gguf.md 4.5).
void pack_six_bits(const std::array<int, 8>& scale, const std::array<int, 8>& min, uint8_t* out) {
  for (size_t j = 0; j < 4; ++j) {
    out[j] = static_cast<uint8_t>(scale[j] | (scale[j + 4] >> 4) << 6);
    out[j + 4] = static_cast<uint8_t>(min[j] | (min[j + 4] >> 4) << 6);
    out[j + 8] = static_cast<uint8_t>((scale[j + 4] & 15) | (min[j + 4] & 15) << 4);
  }
}

using Q2Block = SuperBlock<IntegerCodes<0, 3>, 16, 16>;
using Q2AbsoluteBlock = SuperBlock<IntegerCodes<0, 3>, 16, 16, true>;

template <class Block>
void store_q2_k(const Block& block, uint8_t* out) {
  std::array<uint8_t, kBlock> codes;
  block.codes(codes.data());
  for (size_t j = 0; j < 16; ++j) out[j] = static_cast<uint8_t>(block.scale[j] | block.min[j] << 4);
  pack_two_bits(codes.data(), out + 16);
  store_half(out + 80, block.d);
  store_half(out + 82, block.dmin);
}

void q2_k(const float* x, uint8_t* out, const float* importance) {
  if (importance) {
    Q2Block block;
    load_values(block, x);
    weigh_by_importance(block, importance, mean_square(x));
    choose_affine<3, false>(block, {-0.9f, 0.05f, 36}, {0, 15, 15});
    return store_q2_k(block, out);
  }
  Q2AbsoluteBlock block;
  load_values(block, x);
  weigh_by_magnitude(block, false);
  choose_affine<3, true>(block, {-0.5f, 0.1f, 15}, {0, 15, 15, 1});
  store_q2_k(block, out);
}

void q3_k(const float* x, uint8_t* out, const float* importance) {
  using Codes = IntegerCodes<-4, 3>;
  static constexpr auto kTargets = symmetric_targets<4, 3>();
  SuperBlock<Codes, 16, 16> block;
  load_values(block, x);
  if (importance)
    weigh_by_importance(block, importance, 2 * mean_square(x));
  else
    weigh_by_square(block, 0.5f);  // by x^2 alone the plain error would be 1% to 2% more
  choose_symmetric<Codes>(block, kTargets, {-32, 31, 0, importance ? 2 : 1});

  std::array<uint8_t, kBlock> codes;
  block.codes(codes.data());
  uint8_t *hmask = out, *scales = out + 96;
  std::memset(hmask, 0, 32);
  for (size_t i = 0; i < kBlock; ++i) hmask[i % 32] |= static_cast<uint8_t>((codes[i] >> 2) << (i / 32));
  pack_two_bits(codes.data(), out + 32);
  std::memset(scales, 0, 12);
  for (size_t j = 0; j < 16; ++j) {
    const int s = block.scale[j] + 32;
    scales[j % 8] |= static_cast<uint8_t>((s & 15) << (4 * (j / 8)));
    scales[8 + j % 4] |= static_cast<uint8_t>((s >> 4) << (2 * (j / 4)));
  }
  store_half(out + 108, block.d);
}

/// What Q4_K and Q5_K share: codes, factors and scales.
template <int kTop>
void choose_4_5(const float* x, uint8_t* out, const float* importance, const AffineGrids& plain_grids, uint8_t* codes) {
  SuperBlock<IntegerCodes<0, kTop>, 32, 8> block;
  load_values(block, x);
  if (importance)
    weigh_by_importance(block, importance, 2 * mean_square(x));
  else
    weigh_by_magnitude(block, true);
  choose_affine<kTop, false>(block, importance ? AffineGrids{-0.9f, 0.05f, 36} : plain_grids, {0, 63, 63});
  block.codes(codes);
  store_half(out, block.d);
  store_half(out + 2, block.dmin);
  pack_six_bits(block.scale, block.min, out + 4);
}

void q4_k(const float* x, uint8_t* out, const float* importance) {
  std::array<uint8_t, kBlock> codes;
  choose_4_5<15>(x, out, importance, {-1, 0.1f, 20}, codes.data());
  pack_nibbles(codes.data(), out + 16);
}

void q5_k(const float* x, uint8_t* out, const float* importance) {
  std::array<uint8_t, kBlock> codes;
  choose_4_5<31>(x, out, importance, {-0.5f, 0.1f, 15}, codes.data());
  uint8_t* qh = out + 16;
  std::memset(qh, 0, 32);
  for (size_t i = 0; i < kBlock; ++i) qh[i % 32] |= static_cast<uint8_t>((codes[i] >> 4) << (i / 32));
  pack_nibbles(codes.data(), out + 48);
}

void q6_k(const float* x, uint8_t* out, const float* importance) {
  using Codes = IntegerCodes<-32, 31>;
  static constexpr auto kTargets = symmetric_targets<32>();
  SuperBlock<Codes, 16, 16> block;
  load_values(block, x);
  if (importance) {  // the importance alone, as with 6 bits no value is coarse
    for (size_t j = 0; j < 16; ++j) block.w[j] = block.plain[j] = Values<16>::from(importance + 16 * j);
  } else {
    weigh_by_square(block);
  }
  choose_symmetric<Codes>(block, kTargets, {-128, 127, 0});

  std::array<uint8_t, kBlock> codes;
  block.codes(codes.data());
  for (size_t half = 0; half < 2; ++half) {
    const uint8_t* q = codes.data() + 128 * half;
    uint8_t *low = out + 64 * half, *high = out + 128 + 32 * half;
    for (size_t l = 0; l < 32; ++l) {
      low[l] = static_cast<uint8_t>((q[l] & 15) | (q[l + 64] & 15) << 4);
      low[l + 32] = static_cast<uint8_t>((q[l + 32] & 15) | (q[l + 96] & 15) << 4);
      high[l] = static_cast<uint8_t>(q[l] >> 4 | q[l + 32] >> 4 << 2 | q[l + 64] >> 4 << 4 | q[l + 96] >> 4 << 6);
    }
  }
  for (size_t j = 0; j < 16; ++j) out[192 + j] = static_cast<uint8_t>(block.scale[j]);
  store_half(out + 208, block.d);
}

}  // namespace

void write_q2_k(const float* x, uint8_t* out, size_t n, const float* importance) {
  each_block<q2_k, kBlock>(x, out, n, importance, 84);
}
void write_q3_k(const float* x, uint8_t* out, size_t n, const float* importance) {
  each_block<q3_k, kBlock>(x, out, n, importance, 110);
}
void write_q4_k(const float* x, uint8_t* out, size_t n, const float* importance) {
  each_block<q4_k, kBlock>(x, out, n, importance, 144);
}
void write_q5_k(const float* x, uint8_t* out, size_t n, const float* importance) {
  each_block<q5_k, kBlock>(x, out, n, importance, 176);
}
void write_q6_k(const float* x, uint8_t* out, size_t n, const float* importance) {
  each_block<q6_k, kBlock>(x, out, n, importance, 210);
}

}  // namespace fathom::quant_detail
