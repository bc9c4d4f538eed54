#include "quant/quantize.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>

#include "base/json.h"
#include "formats/gguf.h"
#include "formats/safetensors.h"
#include "tensor/dequantize.h"
#include "tests/testing.h"

namespace fathom {
namespace {

constexpr std::array kBlockTypes = {DType::kQ8_0, DType::kQ4_0, DType::kQ4_1,   DType::kQ5_0,
                                    DType::kQ5_1, DType::kQ2_K, DType::kQ3_K,   DType::kQ4_K,
                                    DType::kQ5_K, DType::kQ6_K, DType::kIQ4_NL, DType::kIQ4_XS};

using Bytes = std::vector<std::byte>;

Bytes quantized(DType type, std::span<const float> x, const float* importance = nullptr) {
  Bytes out(x.size() / info(type).block_size * info(type).block_bytes);
  quantize(type, x.data(), out.data(), x.size(), importance);
  return out;
}

std::vector<float> decoded(DType type, const Bytes& blocks) {
  std::vector<float> out(blocks.size() / info(type).block_bytes * info(type).block_size);
  dequantize(type, blocks.data(), out.data(), out.size());
  return out;
}

std::vector<float> through(DType type, std::span<const float> x, const float* importance = nullptr) {
  return decoded(type, quantized(type, x, importance));
}

/// sqrt(sum w (y - x)^2 / sum w x^2); w: 1 where null.
double relative_error(std::span<const float> x, std::span<const float> y, const float* w = nullptr) {
  double error = 0, size = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    const double e = double{y[i]} - double{x[i]}, weight = w ? w[i] : 1.0;
    error += weight * e * e, size += weight * x[i] * x[i];
  }
  return size > 0 ? std::sqrt(error / size) : std::sqrt(error);
}

std::string hex(const Bytes& bytes) {
  std::string text;
  for (const std::byte b : bytes) {
    constexpr const char* kDigits = "0123456789abcdef";
    text += kDigits[static_cast<size_t>(b >> 4)];
    text += kDigits[static_cast<size_t>(b & std::byte{15})];
  }
  return text;
}

std::optional<DType> type_named(std::string_view name) {
  for (size_t i = 0; i < kDTypeCount; ++i)
    if (name == info(static_cast<DType>(i)).name) return static_cast<DType>(i);
  return std::nullopt;
}

/// Types whose bytes are the reference's.
bool has_reference_bytes(DType type) {
  return info(type).block_size == 1 || (info(type).block_size == 32 && type != DType::kIQ4_NL);
}

/// Row-like data of several kinds, 1,024 values each.
std::vector<std::pair<std::string, std::vector<float>>> rows() {
  const std::vector<float> normal = testing::random_floats(1024, 11), other = testing::random_floats(1024, 12);
  std::vector<std::pair<std::string, std::vector<float>>> all;
  const auto add = [&](const char* name, auto value) {
    std::vector<float> row(1024);
    for (size_t i = 0; i < row.size(); ++i) row[i] = value(i);
    all.emplace_back(name, std::move(row));
  };
  add("normal", [&](size_t i) { return normal[i]; });
  add("weights", [&](size_t i) { return 0.02f * normal[i]; });
  add("small", [&](size_t i) { return 3e-4f * normal[i]; });
  add("heavy tails", [&](size_t i) { return normal[i] / (0.3f + std::fabs(other[i])); });
  add("positive", [&](size_t i) { return 0.5f + std::fabs(normal[i]); });
  add("negative", [&](size_t i) { return -0.5f - std::fabs(normal[i]); });
  add("sparse", [&](size_t i) { return other[i] > 1 ? normal[i] : 0.0f; });
  add("one outlier", [&](size_t i) { return i % 256 == 77 ? 100.0f : normal[i]; });
  return all;
}

std::vector<float> random_importance(size_t n, uint64_t seed) {
  std::vector<float> importance = testing::random_floats(n, seed);
  for (float& v : importance) v = v * v * v * v + 1e-3f;
  return importance;
}

std::array<const float*, 2> without_and_with(const std::vector<float>& importance) {
  return {nullptr, importance.data()};
}

TEST(Quantize, KnowsItsTypes) {
  for (const DType type : kBlockTypes) EXPECT_TRUE(can_quantize(type)) << type;
  for (const DType type : {DType::kF32, DType::kF16, DType::kBF16}) EXPECT_TRUE(can_quantize(type)) << type;
  for (const DType type : {DType::kF64, DType::kF8E4M3, DType::kI8, DType::kMXFP4, DType::kIQ2_XXS, DType::kIQ1_M})
    EXPECT_FALSE(can_quantize(type)) << type;
}

// --- Against the reference
// --------------------------------------------------------------------------------------------

TEST(Quantize, WritesTheBytesOfTheReference) {
  const auto path = testing::golden_dir() / "quants" / "quants.safetensors";
  if (!exists(path)) GTEST_SKIP() << "needs golden/quants";
  const SafetensorsFile golden(path);
  const Tensor source = golden.tensor("source");
  size_t types = 0;
  for (const char* name : {"F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1"}) {
    const Bytes got = quantized(*type_named(name), source.span<float>());
    const Tensor want = golden.tensor(std::string(name) + ".written");
    ASSERT_EQ(got.size(), want.size_bytes()) << name;
    EXPECT_EQ(0, std::memcmp(got.data(), want.bytes(), got.size())) << name;
    ++types;
  }
  EXPECT_EQ(types, 7U);
}

TEST(Quantize, WritesTheBytesOfTheSpecification) {
  std::vector<float> x(32);
  for (int i = 0; i < 32; ++i) x[static_cast<size_t>(i)] = static_cast<float>((7 * i * i + 3 * i) % 41 - 20) / 8;
  EXPECT_EQ(hex(quantized(DType::kQ8_0, x)), "0a2581c0594687261966060053fafa530006661926874659c0819a0dd4f36c395fda");
  EXPECT_EQ(hex(quantized(DType::kQ4_0, x)), "0035e0a4ae0cc0ea4a0e28985d78f8cde868");
  EXPECT_EQ(hex(quantized(DType::kQ4_1, x)), "ef3400c1f0a4be0dd0eb4a0f29985d78f8cde869");
  EXPECT_EQ(hex(quantized(DType::kQ5_0, x)), "0031ece73772d0385b1991b5830d3120aaefef7ac0b1");
  EXPECT_EQ(hex(quantized(DType::kQ5_1, x)), "c63000c1ecff3772e0486c1aa1c6840e3221bcf0f08cd1c2");
}

TEST(Quantize, IsNoWorseThanTheSpecificationsBlocks) {
  // spec/gguf.md 6.2: blocks of the reference's search for this row, and the errors that they have.
  std::vector<float> x(256);
  for (int i = 0; i < 256; ++i) x[static_cast<size_t>(i)] = static_cast<float>((7 * i * i + 3 * i) % 251 - 125) / 64;
  constexpr std::pair<DType, double> kReference[] = {
      {DType::kQ2_K, 0.227455}, {DType::kQ4_K, 0.052805}, {DType::kQ6_K, 0.0135247}};
  for (const auto& [type, error] : kReference) EXPECT_LE(relative_error(x, through(type, x)), error * 1.002) << type;
}

/// `<name>` of `<name>.<TYPE>`: the unquantised twin's file, if it is one of the golden files.
std::optional<std::filesystem::path> twin_of(const std::filesystem::path& folder, const std::string& file) {
  const size_t dot = file.find('.');
  if (dot == std::string::npos || file.find('/') != std::string::npos) return std::nullopt;
  const std::filesystem::path twin = folder / (file.substr(0, dot) + ".gguf");
  return exists(twin) ? std::optional(twin) : std::nullopt;
}

/// Every quantised tensor of a golden file, quantised here from its twin. Returns how many were compared.
size_t compare_file(const std::filesystem::path& quantized_path, const std::filesystem::path& twin_path,
                    const json::object& reference) {
  const GgufFile file(quantized_path), twin(twin_path);
  size_t compared = 0;
  for (const TensorInfo& tensor : file.tensors()) {
    const Tensor source = twin.tensor(tensor.name);
    if (source.dtype() == tensor.dtype) continue;
    std::vector<float> x(source.count());
    dequantize(source.dtype(), source.bytes(), x.data(), x.size());
    const Bytes got = quantized(tensor.dtype, x);
    const Tensor want = file.tensor(tensor.name);
    if (has_reference_bytes(tensor.dtype)) {
      EXPECT_TRUE(got.size() == want.size_bytes() && std::memcmp(got.data(), want.bytes(), got.size()) == 0)
          << quantized_path << " " << tensor.name;
    } else {
      const double limit = reference.at(tensor.name).as_array()[1].to_number<double>();
      EXPECT_LE(relative_error(x, decoded(tensor.dtype, got)), 1.002 * limit) << quantized_path << " " << tensor.name;
    }
    ++compared;
  }
  return compared;
}

TEST(Quantize, IsAsGoodAsTheReferenceOnEveryGoldenTensor) {
  const auto folder = testing::golden_dir() / "gguf";
  if (!exists(folder / "reference.json")) GTEST_SKIP() << "needs golden/gguf";
  const json::value reference = read_json_file(folder / "reference.json");
  size_t files = 0, tensors = 0;
  for (const auto& [name, entry] : reference.at("files").as_object()) {
    const auto twin = twin_of(folder, std::string(name));
    const auto path = folder / (std::string(name) + ".gguf");
    if (!twin || !exists(path)) continue;
    tensors += compare_file(path, *twin, entry.at("tensors").as_object());
    ++files;
  }
  EXPECT_GE(files, 17U);
  EXPECT_GE(tensors, 200U);
}

// --- Properties
// -------------------------------------------------------------------------------------------------------

TEST(Quantize, ErrorsAreWithinTheGridOfEachType) {
  // Relative RMS error on normal values: a uniform grid of 2^b steps over the range of 16 or 32 of them.
  constexpr std::pair<DType, double> kBounds[] = {
      {DType::kQ8_0, 0.0064}, {DType::kQ4_0, 0.099}, {DType::kQ4_1, 0.085},  {DType::kQ5_0, 0.049},
      {DType::kQ5_1, 0.041},  {DType::kQ2_K, 0.31},  {DType::kQ3_K, 0.16},   {DType::kQ4_K, 0.077},
      {DType::kQ5_K, 0.039},  {DType::kQ6_K, 0.019}, {DType::kIQ4_NL, 0.08}, {DType::kIQ4_XS, 0.08}};
  const std::vector<float> x = testing::random_floats(8192, 1);
  for (const auto& [type, bound] : kBounds) {
    const double error = relative_error(x, through(type, x));
    EXPECT_LT(error, bound) << type;
    EXPECT_GT(error, bound * 0.8) << type;
  }
}

TEST(Quantize, OffsetsAreOfUseToValuesOfOneSign) {
  // All values in [10, 10.5): with a positive offset of its own Q4_1 has 1/15 of half the range as its step; Q4_K's
  // offsets are never positive, so that its grid begins at 0. Mirrored, Q4_K is as fine.
  std::vector<float> x = testing::random_floats(2048, 2), importance = random_importance(2048, 3);
  for (float& v : x) v = 10 + 0.5f * (v - std::floor(v));
  EXPECT_LT(relative_error(x, through(DType::kQ4_1, x)), 0.0012);
  EXPECT_LT(relative_error(x, through(DType::kQ4_1, x, importance.data())), 0.0012);
  EXPECT_LT(relative_error(x, through(DType::kQ5_1, x, importance.data())), 0.0006);
  EXPECT_GT(relative_error(x, through(DType::kQ4_K, x)), 0.005);
  for (float& v : x) v = -v;
  EXPECT_LT(relative_error(x, through(DType::kQ4_K, x)), 0.0025);
}

TEST(Quantize, StoredValuesStayAsTheyAre) {
  // What the reference's types have stored once they store again with the same values.
  const std::vector<float> x = testing::random_floats(4096, 4);
  for (const DType type : {DType::kF32, DType::kF16, DType::kBF16, DType::kQ8_0, DType::kQ4_0, DType::kQ5_0}) {
    const Bytes once = quantized(type, x);
    EXPECT_EQ(once, quantized(type, decoded(type, once))) << type;
  }
  // The others search anew, from values that lie on one of their grids: little is lost.
  for (const DType type : kBlockTypes) {
    const std::vector<float> once = through(type, x);
    EXPECT_LT(relative_error(once, through(type, once)), 0.4 * relative_error(x, once)) << type;
  }
}

TEST(Quantize, ScalesFollowTheValues) {
  // Powers of two change no rounding, as long as the scales are normal f16 numbers.
  std::vector<float> x = testing::random_floats(1024, 5), importance = random_importance(1024, 6);
  std::vector<float> larger = x;
  for (float& v : larger) v *= 64;
  for (const DType type : kBlockTypes)
    for (const float* weights : without_and_with(importance)) {
      std::vector<float> want = through(type, x, weights), got = through(type, larger, weights);
      for (float& v : want) v *= 64;
      EXPECT_LT(relative_error(want, got), 0.2 * relative_error(x, through(type, x, weights))) << type;
    }
}

TEST(Quantize, ImportanceLowersTheWeightedError) {
  for (const auto& [name, x] : rows()) {
    const std::vector<float> importance = random_importance(x.size(), 7);
    for (const DType type : kBlockTypes) {
      const double without = relative_error(x, through(type, x), importance.data());
      const double with = relative_error(x, through(type, x, importance.data()), importance.data());
      // The search's own weights have a factor sqrt(sigma2 + x^2) more, which an outlier dominates.
      EXPECT_LE(with, without * (name == "one outlier" ? 1.05 : 1.0001)) << type << " " << name;
      const bool clearly = name == "weights" && type != DType::kQ8_0;
      EXPECT_LE(with, without * (clearly ? 0.97 : 1.05)) << type << " " << name;
    }
  }
}

/// Beside one value that f16 holds all others get the code of 0, so any of the codes that are searched fits the large
/// value: the one whose scale f16 holds too must win.
TEST(Quantize, AWeightedBlockKeepsALoneLargeValue) {
  std::vector<float> x = testing::random_floats(1024, 20);
  const std::vector<float> importance = random_importance(1024, 21);
  for (size_t i = 5; i < x.size(); i += 32) x[i] = i % 64 < 32 ? 1000.0f + static_cast<float>(i / 2) : -777.0f;
  for (const DType type : {DType::kQ4_0, DType::kQ5_0}) {
    const std::vector<float> y = through(type, x, importance.data());
    for (size_t i = 5; i < x.size(); i += 32) EXPECT_EQ(y[i], x[i]) << type << " " << i;
  }
}

TEST(Quantize, UniformImportanceIsNearlyNone) {
  const std::vector<float> x = testing::random_floats(4096, 8);
  const std::vector<float> ones(x.size(), 1.0f), tiny(x.size(), 1e-12f);
  for (const DType type : kBlockTypes) {
    EXPECT_LE(relative_error(x, through(type, x, ones.data())), relative_error(x, through(type, x)) * 1.001) << type;
    EXPECT_NEAR(relative_error(x, through(type, x, tiny.data())), relative_error(x, through(type, x, ones.data())),
                1e-3)
        << type;
  }
}

TEST(Quantize, BlocksDoNotDependOnTheirNeighbours) {
  const std::vector<float> x = testing::random_floats(2048, 9);
  for (const DType type : kBlockTypes) {
    const Bytes whole = quantized(type, x);
    Bytes parts;
    for (size_t i = 0; i < x.size(); i += 256) {
      const Bytes part = quantized(type, std::span(x).subspan(i, 256));
      parts.insert(parts.end(), part.begin(), part.end());
    }
    EXPECT_EQ(whole, parts) << type;
  }
}

TEST(Quantize, WritesToAnyAlignment) {
  const std::vector<float> x = testing::random_floats(512, 10);
  for (const DType type : kBlockTypes) {
    const Bytes want = quantized(type, x);
    Bytes out(want.size() + 1);
    quantize(type, x.data(), out.data() + 1, x.size());
    EXPECT_TRUE(std::equal(want.begin(), want.end(), out.begin() + 1)) << type;
  }
}

// --- Awkward values
// ---------------------------------------------------------------------------------------------------

TEST(Quantize, RowsOfOneValue) {
  const std::vector<float> importance = random_importance(256, 13);
  for (const float value : {0.0f, -0.0f, 1.0f, -1.0f, 3e-3f, 60000.0f, -60000.0f, 1e-30f, -1e-30f, 1e-41f}) {
    const std::vector<float> x(256, value);
    for (const DType type : kBlockTypes)
      for (const float* weights : without_and_with(importance)) {
        const std::vector<float> y = through(type, x, weights);
        for (const float v : y)
          EXPECT_LE(std::fabs(v - value), std::max(0.02f * std::fabs(value), 1e-7f)) << type << " " << value;
        const bool zeros = std::all_of(y.begin(), y.end(), [](float v) { return v == 0; });
        EXPECT_TRUE(value != 0 || zeros) << type;
      }
  }
}

TEST(Quantize, ImportanceOfZeroIsSafe) {
  const std::vector<float> x = testing::random_floats(1024, 14);
  std::vector<float> zeros(x.size(), 0.0f), half = random_importance(x.size(), 15);
  for (size_t i = 0; i < half.size(); ++i)
    if (i % 128 < 100) half[i] = 0;  // whole groups, and parts of groups, that no token ever reached
  for (const DType type : kBlockTypes) {
    EXPECT_EQ(quantized(type, x, zeros.data()), quantized(type, x)) << type;
    const double error = relative_error(x, through(type, x, half.data()));
    EXPECT_LT(error, 2.5 * relative_error(x, through(type, x))) << type << ": columns without weight keep their values";
  }
  const float nan = std::numeric_limits<float>::quiet_NaN(), infinity = std::numeric_limits<float>::infinity();
  for (const float bad : {nan, infinity}) {
    std::vector<float> weights(x.size(), bad);
    for (const DType type : kBlockTypes) EXPECT_EQ(quantized(type, x, weights.data()), quantized(type, x)) << type;
  }
}

TEST(Quantize, ValuesThatNoTypeHoldsHarmNobody) {
  const float nan = std::numeric_limits<float>::quiet_NaN(), infinity = std::numeric_limits<float>::infinity();
  const std::vector<float> importance = random_importance(512, 16);
  for (const float bad : {nan, -nan, infinity, -infinity, 3.4e38f, -3.4e38f, 1e-45f, 65504.0f, 1e20f})
    for (const size_t period : {1, 2, 7, 256}) {
      std::vector<float> x = testing::random_floats(512, 17);
      for (size_t i = 0; i < x.size(); i += period) x[i] = bad;
      for (const DType type : kBlockTypes) {
        quantized(type, x);
        quantized(type, x, importance.data());
      }
    }
}

TEST(Quantize, WhatFitsIntoF16StaysFinite) {
  std::vector<float> x = testing::random_floats(1024, 18);
  const std::vector<float> importance = random_importance(1024, 19);
  for (float& v : x) v = std::clamp(v * 40000.0f, -65504.0f, 65504.0f);
  for (const DType type : kBlockTypes)
    for (const float* weights : without_and_with(importance))
      EXPECT_LT(relative_error(x, through(type, x, weights)), 0.35) << type;
}

TEST(Quantize, NamesTheFirstValueThatATypeCannotHold) {
  std::vector<float> x(300, 1.0f);
  EXPECT_EQ(first_unstorable(DType::kQ4_K, x.data(), x.size()), std::nullopt);
  x[299] = -65504.0f;
  EXPECT_EQ(first_unstorable(DType::kF16, x.data(), x.size()), std::nullopt);
  x[256] = 65520.0f;
  EXPECT_EQ(first_unstorable(DType::kF16, x.data(), x.size()), 256U);
  EXPECT_EQ(first_unstorable(DType::kBF16, x.data(), x.size()), std::nullopt);
  x[40] = std::numeric_limits<float>::max();
  EXPECT_EQ(first_unstorable(DType::kBF16, x.data(), x.size()), 40U);
  EXPECT_EQ(first_unstorable(DType::kF32, x.data(), x.size()), std::nullopt);
  x[30] = std::numeric_limits<float>::infinity();
  x[31] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(first_unstorable(DType::kF32, x.data(), x.size()), 30U);
  EXPECT_EQ(first_unstorable(DType::kQ8_0, x.data() + 31, 1), 0U);
}

}  // namespace
}  // namespace fathom
