// Packed groups lose no bit, every table packs alike, and codes lie where the layout says.
#include "kernels/packed.h"

#include <gtest/gtest.h>

#include "kernels/kernels_testing.h"
#include "kernels/ref/int8_blocks.h"

namespace fathom {
namespace {

using testing::random_bytes;

const std::byte* bytes(const std::vector<uint8_t>& v) { return reinterpret_cast<const std::byte*>(v.data()); }
std::byte* bytes(std::vector<uint8_t>& v) { return reinterpret_cast<std::byte*>(v.data()); }

TEST(Packed, EveryBlockComesBack) {
  for (const DType type : testing::int8_types())
    for (const size_t n : {1, 15, 16}) {
      const size_t block = info(type).block_bytes, blocks = 3, row = blocks * block;
      const std::vector<uint8_t> rows = random_bytes(n * row, n);
      std::vector<uint8_t> packed(blocks * group_bytes(type), 0xAA), back(block, 0xAA);
      pack_rows(bytes(packed), type, bytes(rows), row, n, blocks);
      for (size_t b = 0; b < blocks; ++b)
        for (size_t r = 0; r < kPanelRows; ++r) {
          unpack_block(bytes(back), type, bytes(packed) + b * group_bytes(type), r);
          std::vector<uint8_t> want(block);
          if (r < n) std::memcpy(want.data(), rows.data() + r * row + b * block, block);
          ASSERT_EQ(back, want) << type << " row " << r << " block " << b;
        }
    }
}

TEST(Packed, EveryTablePacksAlike) {
  for (const DType type : testing::int8_types())
    for (const size_t n : {3, 16}) {
      const size_t block = info(type).block_bytes, blocks = 5, row = blocks * block + 7;
      const std::vector<uint8_t> rows = random_bytes(kPanelRows * row, 3);
      std::vector<uint8_t> want(blocks * group_bytes(type)), got(want.size(), 0xAA);
      pack_rows(bytes(want), type, bytes(rows), row, n, blocks);
      for (const Kernels* k : usable_kernels()) {
        k->pack_rows(bytes(got), type, bytes(rows), row, n, blocks);
        ASSERT_EQ(got, want) << k->name << " " << type;
      }
    }
}

TEST(Packed, SizesAreTheFilesButForScalesOfSixBits) {
  for (const DType type : testing::int8_types()) {
    const bool k = type == DType::kQ4_K || type == DType::kQ5_K || type == DType::kQ3_K;
    const size_t more = k ? 64 : type == DType::kIQ4_XS ? 32 : 0;
    EXPECT_EQ(group_bytes(type), info(type).block_bytes * kPanelRows + more) << type;
  }
}

/// Q4_K by hand: the nibble of value 32 g + 4 s + i of row r.
TEST(Packed, CodesLieWhereTheLayoutSays) {
  const size_t row = info(DType::kQ4_K).block_bytes;
  const std::vector<uint8_t> rows = random_bytes(kPanelRows * row, 4);
  std::vector<uint8_t> packed(group_bytes(DType::kQ4_K));
  pack_rows(bytes(packed), DType::kQ4_K, bytes(rows), row, kPanelRows, 1);
  const PackedLayout at = packed_layout(DType::kQ4_K);
  EXPECT_EQ(at.codes, 32u + 32 + 128 + 128);
  for (size_t r = 0; r < kPanelRows; ++r) {
    ref::Int8Block block;
    ref::read_int8_block(block, DType::kQ4_K, rows.data() + r * row);
    for (size_t g = 0; g < 8; ++g) {
      EXPECT_EQ(packed[at.scales + 16 * g + r], block.scale[2 * g]);
      EXPECT_EQ(packed[at.minima + 16 * g + r], block.minimum[2 * g]);
      for (size_t s = 0; s < 8; ++s)
        for (size_t i = 0; i < 4; ++i)
          ASSERT_EQ(packed[at.codes + g * 256 + s % 4 * 64 + 4 * r + i] >> (s / 4 * 4) & 15,
                    block.w[32 * g + 4 * s + i]);
    }
  }
}

}  // namespace
}  // namespace fathom
