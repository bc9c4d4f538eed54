#include "tensor/dequantize.h"

#include <cstring>
#include <map>

#include "base/json.h"
#include "tensor/float_types.h"
#include "tensor/iq_grids.h"
#include "tests/testing.h"

namespace fathom {
namespace {

// A reader of trusted golden files for this folder's tests only: formats/ is a level above.
struct Golden {
  std::string file;
  json::value header;
  size_t data;
  explicit Golden(const std::filesystem::path& path) : file(testing::read_file(path)) {
    uint64_t size;
    std::memcpy(&size, file.data(), 8);
    header = parse_json(std::string_view(file).substr(8, size), "golden");
    data = 8 + size;
  }
  std::string_view bytes(std::string_view name) const {
    const json::array& at = header.at(name).at("data_offsets").as_array();
    return std::string_view(file).substr(data + at[0].to_number<size_t>(),
                                         at[1].to_number<size_t>() - at[0].to_number<size_t>());
  }
};

std::optional<DType> dtype_named(std::string_view name) {
  for (size_t i = 0; i < kDTypeCount; ++i)
    if (name == info(static_cast<DType>(i)).name) return static_cast<DType>(i);
  return std::nullopt;
}

std::vector<float> decoded(DType type, std::string_view blocks) {
  std::vector<float> out(blocks.size() / info(type).block_bytes * info(type).block_size);
  dequantize(type, reinterpret_cast<const std::byte*>(blocks.data()), out.data(), out.size());
  return out;
}

TEST(Dequantize, EqualsTheReferenceBitForBit) {
  const auto path = testing::golden_dir() / "quants" / "quants.safetensors";
  if (!exists(path)) GTEST_SKIP() << "needs golden/quants";
  const Golden golden(path);
  size_t types = 0;
  for (const auto& [key, value] : golden.header.as_object()) {
    const std::string name(key);
    if (!name.ends_with(".blocks")) continue;
    const std::string stem = name.substr(0, name.size() - 7);
    const std::optional<DType> type = dtype_named(stem);
    if (!type) continue;  // NVFP4, TQ1_0, TQ2_0: not read
    const std::string_view want = golden.bytes(stem + ".values");
    const std::vector<float> got = decoded(*type, golden.bytes(name));
    ASSERT_EQ(got.size() * 4, want.size()) << stem;
    EXPECT_EQ(0, std::memcmp(got.data(), want.data(), want.size())) << stem;
    ++types;
  }
  EXPECT_EQ(types, 20u) << "every quantised type of dtype.h";
}

TEST(Dequantize, PlainTypesReadBackWhatTheReferenceWrote) {
  const auto path = testing::golden_dir() / "quants" / "quants.safetensors";
  if (!exists(path)) GTEST_SKIP() << "needs golden/quants";
  const Golden golden(path);
  const std::vector<float> source = decoded(DType::kF32, golden.bytes("source"));
  const std::vector<float> f16 = decoded(DType::kF16, golden.bytes("F16.written"));
  const std::vector<float> bf16 = decoded(DType::kBF16, golden.bytes("BF16.written"));
  ASSERT_EQ(f16.size(), source.size());
  for (size_t i = 0; i < source.size(); ++i) {
    uint16_t half, brain;
    std::memcpy(&half, golden.bytes("F16.written").data() + 2 * i, 2);
    std::memcpy(&brain, golden.bytes("BF16.written").data() + 2 * i, 2);
    EXPECT_EQ(f16_from_f32(source[i]), half) << source[i];
    EXPECT_EQ(bf16_from_f32(source[i]), brain) << source[i];
    EXPECT_EQ(f16_from_f32(f16[i]), half);
    EXPECT_EQ(bf16_from_f32(bf16[i]), brain);
  }
}

// spec/gguf.md 6.1: bytes (37 k + 11) mod 256, d = 0.0625, m = 0.25, and two exact sums.
TEST(Dequantize, SpecificationsSums) {
  struct Case {
    DType type;
    std::vector<size_t> d, m;
    double sum, sum_abs;
  };
  const std::vector<Case> cases = {
      {DType::kQ8_0, {0}, {}, -11, 135.75},
      {DType::kQ4_0, {0}, {}, -1.3125, 7.6875},
      {DType::kQ4_1, {0}, {2}, 23.3125, 23.3125},
      {DType::kQ5_0, {0}, {}, 0.9375, 15.4375},
      {DType::kQ5_1, {0}, {2}, 39.5625, 39.5625},
      {DType::kIQ4_NL, {0}, {}, -16.0625, 106.5625},
      {DType::kQ2_K, {80}, {82}, -238.8125, 334.1875},
      {DType::kQ3_K, {108}, {}, 59.875, 575.625},
      {DType::kQ4_K, {0}, {2}, 1554.5, 2871.75},
      {DType::kQ5_K, {0}, {2}, 5415.5, 6149.25},
      {DType::kQ6_K, {208}, {}, 288.25, 16656.375},
      {DType::kIQ4_XS, {0}, {}, -687.8125, 10416.4375},
  };
  for (const Case& c : cases) {
    std::string block(info(c.type).block_bytes, 0);
    for (size_t k = 0; k < block.size(); ++k) block[k] = static_cast<char>(37 * k + 11);
    for (size_t at : c.d) block[at] = 0x00, block[at + 1] = 0x2C;
    for (size_t at : c.m) block[at] = 0x00, block[at + 1] = 0x34;
    double sum = 0, sum_abs = 0;
    for (float y : decoded(c.type, block)) sum += y, sum_abs += std::fabs(y);
    EXPECT_EQ(sum, c.sum) << c.type;
    EXPECT_EQ(sum_abs, c.sum_abs) << c.type;
  }
}

TEST(Dequantize, AnyBytesAndAnyAlignmentAreSafe) {
  for (size_t t = 0; t < kDTypeCount; ++t) {
    const auto type = static_cast<DType>(t);
    if (!can_dequantize(type)) continue;
    const std::vector<uint8_t> bytes = testing::random_bytes(1 + 64 * info(type).block_bytes, t);
    const auto* blocks = reinterpret_cast<const std::byte*>(bytes.data());
    std::vector<float> odd(64 * info(type).block_size), even(odd.size());
    dequantize(type, blocks + 1, odd.data(), odd.size());
    const std::vector<uint8_t> moved(bytes.begin() + 1, bytes.end());
    dequantize(type, reinterpret_cast<const std::byte*>(moved.data()), even.data(), even.size());
    EXPECT_EQ(0, std::memcmp(odd.data(), even.data(), 4 * odd.size())) << type;
    dequantize(type, nullptr, nullptr, 0);
  }
}

TEST(Dequantize, Fp8TilesTakeTheirOwnScale) {
  const size_t rows = 130, columns = 257;
  const Tensor w = make_tensor(DType::kF8E4M3, {2, rows, columns});
  std::memset(w.bytes(), 0x3C, w.count());  // 1.5
  const Tensor scales = make_tensor(DType::kF32, {2, 2, 3});
  for (size_t i = 0; i < scales.count(); ++i) scales.data<float>()[i] = static_cast<float>(i + 1);
  const Tensor y = dequantize(w, scales);
  for (size_t e = 0; e < 2; ++e)
    for (size_t r = 0; r < rows; ++r)
      for (size_t c = 0; c < columns; ++c)
        ASSERT_EQ(y.data<float>()[(e * rows + r) * columns + c],
                  1.5f * static_cast<float>(6 * e + 3 * (r / 128) + c / 128 + 1));
  EXPECT_THROW(dequantize(w, make_tensor(DType::kF32, {2, 2, 2})), Error);
  EXPECT_THROW(dequantize(make_tensor(DType::kI32, {4})), Error);
}

TEST(IqGrids, EqualTheReferenceTables) {
  const auto path = testing::golden_dir() / "quants" / "grids.safetensors";
  if (!exists(path)) GTEST_SKIP() << "needs golden/quants";
  const Golden golden(path);
  size_t tables = 0;
  for (const auto& [name, entry] : golden.header.as_object()) {
    const std::optional<DType> type = dtype_named(name);
    if (!type) continue;
    const auto width = entry.at("shape").at(1).to_number<uint32_t>();
    const std::string_view bytes = golden.bytes(name);
    for (uint32_t i = 0; i < bytes.size(); ++i)
      ASSERT_EQ(iq_grid(*type)->value(i / width, i % width), static_cast<int8_t>(bytes[i]))
          << std::string(name) << " " << i;
    ++tables;
  }
  EXPECT_EQ(tables, 7u);
}

}  // namespace
}  // namespace fathom
