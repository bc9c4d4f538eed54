// The block writers of IQ4_NL and IQ4_XS (spec/gguf.md 4.1 and 4.8): scaled values of a fixed table of 16.
#include "quant/quantize_blocks.h"
#include "quant/quantize_superblock.h"

namespace fathom::quant_detail {
namespace {

/// The largest value goes near to either end of the table: to its largest magnitude, -127, give or take 7, or past 113.
constexpr std::array<float, 16> kTargets = {127,  -134, -133, -132, -131, -130, -129, -128,
                                            -127, -126, -125, -124, -123, -122, -121, -120};

/// Nibbles of 32 codes: the first 16 low, the others high.
void pack_halves(const uint8_t* codes, uint8_t* out) {
  for (size_t j = 0; j < 16; ++j) out[j] = static_cast<uint8_t>(codes[j] | codes[j + 16] << 4);
}

void iq4_nl(const float* x, uint8_t* out, const float* importance) {
  SuperBlock<Iq4Codes, 32, 1> block;
  load_values(block, x);
  if (importance)
    weigh_by_importance(block, importance, 2 * sum_of_squares(block.x[0]) / 32);
  else
    weigh_by_square(block);
  choose_symmetric<Iq4Codes>(block, kTargets, {1, 1, 0});
  std::array<uint8_t, 32> codes;
  block.codes(codes.data());
  store_half(out, block.d);
  pack_halves(codes.data(), out + 2);
}

void iq4_xs(const float* x, uint8_t* out, const float* importance) {
  SuperBlock<Iq4Codes, 32, 8> block;
  load_values(block, x);
  if (importance)
    weigh_by_importance(block, importance, 2 * mean_square(x));
  else
    weigh_by_square(block);
  choose_symmetric<Iq4Codes>(block, kTargets, {-32, 31, 0});

  std::array<uint8_t, 256> codes;
  block.codes(codes.data());
  uint16_t high = 0;
  uint8_t* low = out + 4;
  std::memset(low, 0, 4);
  for (size_t j = 0; j < 8; ++j) {
    const int s = block.scale[j] + 32;
    low[j / 2] |= static_cast<uint8_t>((s & 15) << (4 * (j % 2)));
    high |= static_cast<uint16_t>((s >> 4) << (2 * j));
    pack_halves(codes.data() + 32 * j, out + 8 + 16 * j);
  }
  store_half(out, block.d);
  std::memcpy(out + 2, &high, sizeof high);
}

}  // namespace

void write_iq4_nl(const float* x, uint8_t* out, size_t n, const float* importance) {
  each_block<iq4_nl, 32>(x, out, n, importance, 18);
}
void write_iq4_xs(const float* x, uint8_t* out, size_t n, const float* importance) {
  each_block<iq4_xs, 256>(x, out, n, importance, 136);
}

}  // namespace fathom::quant_detail
