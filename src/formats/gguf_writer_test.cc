#include "formats/gguf_writer.h"

#include <cstring>
#include <fstream>

#include "formats/gguf_builder.h"
#include "tests/testing.h"

namespace fathom {
namespace {

namespace fs = std::filesystem;

std::string bytes_of(const GgufFile& file, const std::string& name) {
  const Tensor t = file.tensor(name);
  return {reinterpret_cast<const char*>(t.bytes()), t.size_bytes()};
}

std::string filling(size_t size, uint64_t seed) {
  const std::vector<uint8_t> bytes = testing::random_bytes(size, seed);
  return {bytes.begin(), bytes.end()};
}

std::span<const std::byte> bytes(std::string_view text) { return std::as_bytes(std::span(text.data(), text.size())); }

/// Writes in pieces of 7 bytes, which no tensor's size fits.
void write_pieces(GgufWriter& writer, const std::string& data) {
  for (size_t at = 0; at < data.size(); at += 7) writer.write(bytes(std::string_view(data).substr(at, 7)));
}

TEST(GgufWriter, EveryGoldenFileIsWrittenAgainByteForByte) {
  const testing::TempDir dir;
  size_t files = 0;
  for (const fs::directory_entry& entry : fs::directory_iterator(testing::golden_dir() / "gguf")) {
    if (entry.path().extension() != ".gguf") continue;
    const GgufFile file(entry.path());
    GgufKeys keys;
    keys.copy(file.metadata());
    const fs::path path = dir.path() / "again.gguf";
    GgufWriter writer(path, keys, file.tensors());
    for (const TensorInfo& t : file.tensors()) writer.write(bytes(bytes_of(file, t.name)));
    EXPECT_EQ(writer.total_bytes(), fs::file_size(entry.path()));
    writer.commit();
    EXPECT_EQ(testing::read_file(path), testing::read_file(entry.path())) << entry.path();
    ++files;
  }
  if (!files) GTEST_SKIP() << "needs golden/gguf";
}

TEST(GgufWriter, EveryValueTypeEqualsTheBytesOfTheFormat) {
  GgufKeys keys;
  keys.set_u8("a.u8", 250);
  keys.set_u16("a.u16", 65000);
  keys.set_u32("a.u32", 4000000000u);
  keys.set_i32("a.i32", -5);
  keys.set_u64("a.u64", uint64_t{1} << 40);
  keys.set_f32("a.f32", 0.7f);
  keys.set_bool("a.bool", true);
  keys.set_string("a.string", "zwölf");
  keys.set_strings("a.strings", std::vector<std::string>{"x", "", "yy"});
  keys.set_i32s("a.i32s", std::vector<int32_t>{1, -2, 3});
  keys.set_string("a.gone", "x");
  keys.remove("a.gone");
  const testing::TempDir dir;
  GgufWriter writer(dir.path() / "x.gguf", keys, {});
  writer.commit();

  testing::GgufBuilder want;
  using testing::GgufBuilder;
  want.key("a.u8", GgufType::kU8, GgufBuilder::raw<uint8_t>(250));
  want.key("a.u16", GgufType::kU16, GgufBuilder::raw<uint16_t>(65000));
  want.key("a.u32", 4000000000u).key("a.i32", GgufType::kI32, GgufBuilder::raw<int32_t>(-5));
  want.key("a.u64", GgufType::kU64, GgufBuilder::raw(uint64_t{1} << 40)).key("a.f32", 0.7f).key("a.bool", true);
  want.key("a.string", "zwölf").key("a.strings", std::vector<std::string>{"x", "", "yy"});
  want.key("a.i32s", std::vector<int32_t>{1, -2, 3});
  EXPECT_EQ(testing::read_file(dir.path() / "x.gguf"), want.bytes());
}

TEST(GgufWriter, TensorsOfEveryTypeComeBack) {
  std::vector<TensorInfo> tensors;
  std::vector<std::string> data;
  for (size_t i = 0; i < kDTypeCount; ++i) {
    const auto type = static_cast<DType>(i);
    if (info(type).gguf_id < 0) continue;
    const size_t n = info(type).block_size;
    tensors.push_back({cat("t", i), type, {3, 2, n}, 0});
    data.push_back(filling(6 * info(type).block_bytes, i));
  }
  const testing::TempDir dir;
  GgufWriter writer(dir.path() / "x.gguf", {}, tensors);
  for (const std::string& d : data) write_pieces(writer, d);
  writer.commit();
  const GgufFile file(dir.path() / "x.gguf");
  ASSERT_EQ(file.tensors().size(), tensors.size());
  for (size_t i = 0; i < tensors.size(); ++i) {
    EXPECT_EQ(file.tensors()[i].name, tensors[i].name);
    EXPECT_EQ(file.tensors()[i].dtype, tensors[i].dtype);
    EXPECT_EQ(file.tensors()[i].shape, tensors[i].shape);
    EXPECT_EQ(bytes_of(file, tensors[i].name), data[i]);
  }
}

TEST(GgufWriter, RefusesWhatTheFormatCannotHold) {
  const testing::TempDir dir;
  const fs::path path = dir.path() / "x.gguf";
  const auto error_of = [&](std::vector<TensorInfo> tensors) -> std::string {
    try {
      GgufWriter(path, {}, std::move(tensors));
      return "";
    } catch (const Error& e) {
      return std::string(e.what()).substr(path.string().size());
    }
  };
  EXPECT_EQ(error_of({{"w", DType::kF8E4M3, {2, 2}, 0}}), ": tensor w: GGUF has no type F8_E4M3");
  EXPECT_EQ(error_of({{std::string(64, 'w'), DType::kF32, {2}, 0}}),
            ": tensor " + std::string(64, 'w') + ": expected a name of 1 to 63 bytes, found 64");
  EXPECT_EQ(error_of({{"w", DType::kF32, {2}, 0}, {"w", DType::kF32, {2}, 0}}), ": tensor w: given twice");
  EXPECT_NE(error_of({{"w", DType::kQ4_0, {2, 33}, 0}}), "");
  EXPECT_FALSE(fs::exists(path));
  EXPECT_TRUE(fs::is_empty(dir.path()));
}

// The key of a file that is aligned otherwise would make readers look for the data in other places.
TEST(GgufWriter, TheAlignmentOfAFileIsNotCopied) {
  const testing::TempDir dir;
  const fs::path from = dir.path() / "from.gguf", to = dir.path() / "to.gguf";
  testing::GgufBuilder builder;
  builder.alignment = 8;
  builder.key("general.alignment", 8u).key("a", 1u).tensor("w", {2}, 0, "abcdefgh").tensor("v", {1}, 0, "ijkl");
  std::ofstream(from, std::ios::binary) << builder.bytes();
  const GgufFile file(from);
  GgufKeys keys;
  keys.copy(file.metadata());
  GgufWriter writer(to, keys, file.tensors());
  for (const TensorInfo& t : file.tensors()) writer.write({file.tensor(t.name).bytes(), t.size_bytes});
  writer.commit();
  const GgufFile again(to);
  EXPECT_FALSE(again.metadata().has("general.alignment"));
  EXPECT_EQ(again.metadata().integer("a"), 1u);
  for (const auto& [name, want] : {std::pair("w", "abcdefgh"), std::pair("v", "ijkl")})
    EXPECT_EQ(0, std::memcmp(again.tensor(name).bytes(), want, std::strlen(want))) << name;
  keys.set_u32("general.alignment", 8);
  EXPECT_THROW(GgufWriter(dir.path() / "x.gguf", keys, {}), Error);
}

TEST(GgufWriter, WithoutCommitNothingIsLeft) {
  const testing::TempDir dir;
  { GgufWriter writer(dir.path() / "x.gguf", {}, {{"w", DType::kF32, {2}, 0}}); }
  EXPECT_TRUE(fs::is_empty(dir.path()));
}

}  // namespace
}  // namespace fathom
