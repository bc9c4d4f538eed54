// What the tests of the tables share: weights of random bytes in panels, comparison of bits.
#pragma once
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "kernels/kernels.h"
#include "tests/testing.h"

namespace fathom::testing {

/// Index of the first float whose bits differ, or n; any NaN equals any NaN (which operand's payload a processor passes
/// on is no part of the contract).
inline size_t first_difference(const float* a, const float* b, size_t n) {
  for (size_t i = 0; i < n; ++i)
    if (std::memcmp(a + i, b + i, 4) != 0 && !(std::isnan(a[i]) && std::isnan(b[i]))) return i;
  return n;
}
inline bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && first_difference(a.data(), b.data(), a.size()) == a.size();
}

/// The tables that must equal ref.
inline std::vector<const Kernels*> other_tables() {
  const auto all = usable_kernels();
  return {all.begin() + 1, all.end()};
}

/// Types that linear_exact takes.
inline std::vector<DType> weight_types() {
  std::vector<DType> types = {DType::kF32, DType::kF16, DType::kBF16, DType::kF8E4M3};
  for (size_t i = static_cast<size_t>(DType::kQ4_0); i < kDTypeCount; ++i) types.push_back(static_cast<DType>(i));
  return types;
}
inline std::vector<DType> int8_types() {
  std::vector<DType> types;
  for (const DType type : weight_types())
    if (int8_block(type) != 0) types.push_back(type);
  return types;
}

/// Where a block has its f16 scale and minimum; -1: none.
struct ScaleOffsets {
  int d, m;
};
inline ScaleOffsets scale_offsets(DType type) {
  switch (type) {
    case DType::kQ4_0:
    case DType::kQ5_0:
    case DType::kQ8_0:
    case DType::kIQ4_NL:
    case DType::kIQ4_XS:
    case DType::kIQ2_XXS:
    case DType::kIQ2_XS:
    case DType::kIQ2_S:
    case DType::kIQ3_XXS:
    case DType::kIQ3_S:
    case DType::kIQ1_S: return {0, -1};
    case DType::kQ4_1:
    case DType::kQ5_1:
    case DType::kQ4_K:
    case DType::kQ5_K: return {0, 2};
    case DType::kQ2_K: return {80, 82};
    case DType::kQ3_K: return {108, -1};
    case DType::kQ6_K: return {208, -1};
    default: return {-1, -1};
  }
}

/// A weight [O, K] of random blocks, its scales small and finite unless `wild`, in panels; rows beyond O are zero
/// bytes. `shift` bytes misalign the data.
struct TestWeight {
  TestWeight(DType type, size_t O, size_t K, uint64_t seed, bool wild = false, size_t shift_bytes = 0)
      : shift(shift_bytes) {
    const DTypeInfo& t = info(type);
    view = {type, nullptr, O, K, nullptr};
    blocks = random_bytes(view.panels() * kPanelRows * (K / t.block_size) * t.block_bytes, seed);
    for (size_t o = 0; o < view.panels() * kPanelRows; ++o)
      for (size_t b = 0; b < K / t.block_size; ++b) {
        if (o >= O)
          std::memset(block(o, b), 0, t.block_bytes);
        else if (!wild)
          tame(type, block(o, b), scale_offsets(type));
      }
    pack();
    if (type != DType::kF8E4M3) return;
    scales = random_floats((O + 127) / 128 * ((K + 127) / 128), seed + 1);
    view.scale_inv = scales.data();
  }
  TestWeight(const TestWeight&) = delete;
  TestWeight& operator=(const TestWeight&) = delete;

  /// Block b of row o as a file has it.
  uint8_t* block(size_t o, size_t b) {
    const DTypeInfo& t = info(view.dtype);
    return blocks.data() + (o * (view.K / t.block_size) + b) * t.block_bytes;
  }
  /// Makes the panels of `blocks`.
  void pack() {
    const DTypeInfo& t = info(view.dtype);
    const size_t n = view.K / t.block_size, row = n * t.block_bytes;
    bytes.assign(shift + view.panels() * view.panel_bytes(), 0);
    for (size_t p = 0; p < view.panels(); ++p) {
      uint8_t* out = bytes.data() + shift + p * view.panel_bytes();
      const auto* rows = reinterpret_cast<const std::byte*>(blocks.data() + p * kPanelRows * row);
      if (is_packed(view.dtype)) {
        pack_rows(reinterpret_cast<std::byte*>(out), view.dtype, rows, row, kPanelRows, n);
        continue;
      }
      for (size_t b = 0; b < n; ++b)
        for (size_t r = 0; r < kPanelRows; ++r)
          std::memcpy(out + (b * kPanelRows + r) * t.block_bytes, block(p * kPanelRows + r, b), t.block_bytes);
    }
    view.data = reinterpret_cast<const std::byte*>(bytes.data() + shift);
  }

  size_t shift;
  std::vector<uint8_t> blocks, bytes;  // [row][block]; panels
  std::vector<float> scales;
  WeightView view;

 private:
  /// Clears the top exponent bit of floating-point parts, so that all values are finite and below about 2.
  static void tame(DType type, uint8_t* block, ScaleOffsets at) {
    for (const int offset : {at.d, at.m})
      if (offset >= 0) block[offset + 1] &= 0xbf;
    if (type == DType::kMXFP4) block[0] = static_cast<uint8_t>(120 + block[0] % 9);
    if (type == DType::kF32) block[3] &= 0xbf;
    if (type == DType::kF16 || type == DType::kBF16) block[1] &= 0xbf;
    if (type == DType::kF8E4M3 && (block[0] & 0x7f) == 0x7f) block[0] &= 0xf0;
    if (type == DType::kIQ1_M) block[55] &= 0xbf;  // the f16's top bits
  }
};

/// Rows of activations quantised by a table.
struct TestRows {
  TestRows(const Kernels& kernels, const std::vector<float>& x, size_t T, size_t K, size_t block)
      : q(T * K), d(T * ((K + block - 1) / block)), sums(T * (K / 16)) {
    view = {block, q.data(), d.data(), sums.data()};
    kernels.quantize_rows(view, x.data(), T, K);
  }
  std::vector<int8_t> q;
  std::vector<float> d;
  std::vector<int16_t> sums;
  QuantizedRows view;
};

/// x's T rows of K values in the form that k's linear_int8 reads many rows in; empty: k has none.
inline std::vector<std::byte> tiles_of(const Kernels& k, const QuantizedRows& x, size_t T, size_t K) {
  std::vector<std::byte> tiles(k.tiles.size(T, K), std::byte{0x7f});
  if (!tiles.empty()) k.tiles.fill(tiles.data(), x, 0, T / k.tiles.rows, T, K);
  return tiles;
}

/// What activations can hold: normal values and zeros; for every other seed also subnormals and huge values (which
/// drown the rest of a sum), and if `wild` infinities and NaN.
inline std::vector<float> test_activations(size_t n, uint64_t seed, bool wild = false) {
  std::vector<float> x = random_floats(n, seed);
  const std::vector<uint8_t> pick = random_bytes(n, seed + 7);
  for (size_t i = 0; i < n; ++i) {
    if (pick[i] < 6)
      x[i] = pick[i] % 2 ? 0.0f : -0.0f;
    else if (pick[i] < 9 && seed % 2)
      x[i] *= 0x1p-130f;
    else if (pick[i] < 10 && seed % 2)
      x[i] *= 0x1p90f;
    else if (wild && pick[i] == 11)
      x[i] = INFINITY;
    else if (wild && pick[i] == 12)
      x[i] = -INFINITY;
    else if (wild && pick[i] == 13)
      x[i] = NAN;
  }
  return x;
}

}  // namespace fathom::testing
