// The block writers of Q8_0, Q4_0, Q4_1, Q5_0 and Q5_1 (spec/gguf.md 4.1). Without importance they have the reference's
// bytes: every operation is the reference's own, in f32. With importance the scale is searched as in the K types.
#include "quant/quantize_blocks.h"
#include "quant/quantize_superblock.h"

namespace fathom::quant_detail {
namespace {

constexpr size_t kBlock = 32;
using Codes32 = std::array<uint8_t, kBlock>;

/// 1 / d, 0 for 0.
float reciprocal(float d) { return d != 0 ? 1 / d : 0; }

/// f16 as it comes: a scale beyond f16 becomes infinite, as in the reference.
void store_plain_half(uint8_t* out, float v) {
  const uint16_t h = f16_from_f32(v);
  std::memcpy(out, &h, sizeof h);
}

/// The integer part of v, clamped to [0, top] first.
void truncate(Lanes v, int top, uint8_t* out) {
  v = min(max(v, splat(0)), splat(static_cast<float>(top)));
  const IntLanes q = __builtin_convertvector(v, IntLanes);
  for (size_t lane = 0; lane < 4; ++lane) out[lane] = static_cast<uint8_t>(q[lane]);
}

/// Stores the codes of one block as nibbles, after the u32 of their high bits where they have five.
void pack(const Codes32& codes, bool five_bits, uint8_t* out) {
  if (five_bits) {
    uint32_t high = 0;
    for (size_t i = 0; i < kBlock; ++i) high |= static_cast<uint32_t>(codes[i] >> 4) << i;
    std::memcpy(out, &high, sizeof high);
    out += sizeof high;
  }
  for (size_t j = 0; j < 16; ++j) out[j] = static_cast<uint8_t>((codes[j] & 15) | (codes[j + 16] & 15) << 4);
}

// --- The reference's rounding
// -----------------------------------------------------------------------------------------

/// d = v / -kHalf, v the first value of largest magnitude, which so gets code 0; the others' codes are
/// x / d + kHalf, rounded to nearest (halves up) and clamped.
template <int kHalf>
void symmetric_reference(const float* x, uint8_t* out) {
  const auto v = Values<kBlock>::from(x);
  const float d = extreme(v) / -kHalf;
  const Lanes inverse = splat(reciprocal(d)), shift = splat(kHalf + 0.5f);
  Codes32 codes;
  for (size_t i = 0; i < v.kLanes; ++i) truncate(v.lanes[i] * inverse + shift, 2 * kHalf - 1, codes.data() + 4 * i);
  store_plain_half(out, d);
  pack(codes, kHalf == 16, out + 2);
}

/// d = (highest - lowest) / kTop, codes (x - lowest) / d, rounded in the same way.
template <int kTop>
void affine_reference(const float* x, uint8_t* out) {
  const auto v = Values<kBlock>::from(x);
  Lanes low = v.lanes[0], high = low;
  for (const Lanes& l : v.lanes) low = min(l, low), high = max(l, high);
  const float lowest = min_lane(low), d = (max_lane(high) - lowest) / kTop;
  const Lanes inverse = splat(reciprocal(d)), offset = splat(lowest), half = splat(0.5f);
  Codes32 codes;
  for (size_t i = 0; i < v.kLanes; ++i) truncate((v.lanes[i] - offset) * inverse + half, kTop, codes.data() + 4 * i);
  store_plain_half(out, d);
  store_plain_half(out + 2, lowest);
  pack(codes, kTop == 31, out + 4);
}

/// Rounds halves away from 0, exactly: v + 0.5 would round up the largest float below a half.
Lanes round_away(Lanes v) {
  const Lanes whole = __builtin_convertvector(__builtin_convertvector(v, IntLanes), Lanes);
  const Lanes one = v < Lanes{} ? splat(-1) : splat(1);
  return whole + (magnitude(v - whole) >= splat(0.5f) ? one : Lanes{});
}

void q8_0(const float* x, uint8_t* out) {
  const auto v = Values<kBlock>::from(x);
  const float d = std::fabs(extreme(v)) / 127;
  const Lanes inverse = splat(reciprocal(d));
  for (size_t i = 0; i < v.kLanes; ++i) {
    const Lanes clamped = min(max(v.lanes[i] * inverse, splat(-127)), splat(127));
    const IntLanes q = __builtin_convertvector(round_away(clamped), IntLanes);
    for (size_t lane = 0; lane < 4; ++lane) out[2 + 4 * i + lane] = static_cast<uint8_t>(q[lane]);
  }
  store_plain_half(out, d);
}

// --- With importance
// --------------------------------------------------------------------------------------------------

template <int kHalf>
void symmetric_weighted(const float* x, uint8_t* out, const float* importance, float sigma2) {
  using Codes = IntegerCodes<-kHalf, kHalf - 1>;
  static constexpr auto kTargets = symmetric_targets<kHalf>();
  SuperBlock<Codes, kBlock, 1> block;
  load_values(block, x);
  weigh_by_importance(block, importance, sigma2);
  choose_one_scale<Codes>(block, kTargets);
  Codes32 codes;
  block.codes(codes.data());
  store_half(out, block.d);
  pack(codes, kHalf == 16, out + 2);
}

/// As choose_one_scale: a fit is judged with the factors that are stored.
Affine as_halves(Affine fit) { return {through_half(fit.scale), through_half(fit.offset)}; }

template <int kTop>
void affine_weighted(const float* x, uint8_t* out, const float* importance, float sigma2) {
  SuperBlock<IntegerCodes<0, kTop>, kBlock, 1> block;
  load_values(block, x);
  weigh_by_importance(block, importance, sigma2);
  const Affine fit = search_affine<kTop, false, true>(block.x[0], block.w[0], {-0.9f, 0.05f, 36}, as_halves);
  block.d = fit.scale, block.dmin = -fit.offset;
  block.scale[0] = block.min[0] = 1;
  block.cost[0] = block.cost_of(0, block.d, block.dmin);
  block.improve({1, 1, 0});
  Codes32 codes;
  block.codes(codes.data());
  store_half(out, block.d);
  store_half(out + 2, -block.dmin);
  pack(codes, kTop == 31, out + 4);
}

using Reference = void (*)(const float*, uint8_t*);
using Weighted = void (*)(const float*, uint8_t*, const float*, float);

/// sigma2 is the mean square of the whole row.
template <Reference reference, Weighted weighted>
void all_blocks(const float* x, uint8_t* out, size_t n, const float* importance, size_t block_bytes) {
  Lanes square{};
  if (importance)
    for (size_t i = 0; i < n; i += 4) square += load(x + i) * load(x + i);
  const float sigma2 = sum(square) / static_cast<float>(n);
  std::array<float, kBlock> floored;
  for (size_t i = 0; i < n; i += kBlock, out += block_bytes) {
    if (importance && floored_importance(importance + i, kBlock, floored.data()))
      weighted(x + i, out, floored.data(), sigma2);
    else
      reference(x + i, out);
  }
}

}  // namespace

void write_q8_0(const float* x, uint8_t* out, size_t n, const float*) {
  for (size_t i = 0; i < n; i += kBlock, out += 34) q8_0(x + i, out);
}
void write_q4_0(const float* x, uint8_t* out, size_t n, const float* importance) {
  all_blocks<symmetric_reference<8>, symmetric_weighted<8>>(x, out, n, importance, 18);
}
void write_q4_1(const float* x, uint8_t* out, size_t n, const float* importance) {
  all_blocks<affine_reference<15>, affine_weighted<15>>(x, out, n, importance, 20);
}
void write_q5_0(const float* x, uint8_t* out, size_t n, const float* importance) {
  all_blocks<symmetric_reference<16>, symmetric_weighted<16>>(x, out, n, importance, 22);
}
void write_q5_1(const float* x, uint8_t* out, size_t n, const float* importance) {
  all_blocks<affine_reference<31>, affine_weighted<31>>(x, out, n, importance, 24);
}

}  // namespace fathom::quant_detail
