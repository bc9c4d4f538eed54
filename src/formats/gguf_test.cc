#include "formats/gguf.h"

#include <fstream>
#include <random>

#include "formats/gguf_builder.h"
#include "tests/testing.h"

namespace fathom {
namespace {

namespace fs = std::filesystem;
using testing::GgufBuilder;

class Gguf : public ::testing::Test {
 protected:
  fs::path put(const std::string& bytes, const std::string& name = "x.gguf") {
    fs::remove(dir_.path() / name);  // rewriting in place would wait for the disk each time
    std::ofstream(dir_.path() / name, std::ios::binary) << bytes;
    return dir_.path() / name;
  }
  /// The message of the Error, or "" where the file opens and everything in it can be asked for.
  std::string error_of(const std::string& bytes) {
    const fs::path path = put(bytes);
    try {
      const GgufFile file(path);
      for (const TensorInfo& t : file.tensors()) (void)file.tensor(t.name);
      for (const GgufMetadata::Entry& e : file.metadata().entries()) {
        if (e.type == GgufType::kString) (void)file.metadata().string(e.key);
        if (e.type == GgufType::kArray && e.element == GgufType::kString) (void)file.metadata().strings(e.key);
        if (e.type == GgufType::kU32) (void)file.metadata().integer(e.key);
        if (e.type == GgufType::kArray && e.element == GgufType::kI32) (void)file.metadata().integers(e.key);
      }
      return "";
    } catch (const Error& e) {
      return e.what();
    }
  }
  testing::TempDir dir_;
};

GgufBuilder small() {
  GgufBuilder b;
  b.key("general.architecture", "llama").key("llama.block_count", 2u).key("a.float", 0.7f).key("a.bool", true);
  b.key("tokens", std::vector<std::string>{"a", "", "ccc"}).key("types", std::vector<int32_t>{1, -2, 3});
  b.tensor("w", {4, 2}, 0, std::string(32, 'w')).tensor("q", {32, 3}, 8, std::string(3 * 34, 'q'));
  return b;
}

TEST_F(Gguf, EveryGoldenFileOpens) {
  size_t files = 0;
  for (const fs::directory_entry& entry : fs::recursive_directory_iterator(testing::golden_dir())) {
    if (entry.path().extension() != ".gguf") continue;
    const GgufFile file(entry.path());
    EXPECT_EQ(file.version(), 3u);
    EXPECT_FALSE(file.tensors().empty());
    for (const TensorInfo& t : file.tensors()) EXPECT_EQ(file.tensor(t.name).size_bytes(), t.size_bytes);
    ++files;
  }
  if (!files) GTEST_SKIP() << "needs golden/gguf";
}

TEST_F(Gguf, ASplitModelEqualsTheWholeOne) {
  const fs::path folder = testing::golden_dir() / "gguf" / "split";
  if (!exists(folder)) GTEST_SKIP() << "needs golden/gguf/split";
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {  // any part leads to all of them
    const std::string name = entry.path().filename().string(), stem = name.substr(0, name.find("-0"));
    const GgufFile split(entry.path()), whole(folder.parent_path() / (stem + ".gguf"));
    EXPECT_GT(split.parts(), 1u);
    ASSERT_EQ(split.tensors().size(), whole.tensors().size());
    for (const TensorInfo& t : whole.tensors()) {
      const Tensor a = split.tensor(t.name), b = whole.tensor(t.name);
      ASSERT_EQ(a.shape(), b.shape());
      EXPECT_EQ(0, std::memcmp(a.bytes(), b.bytes(), b.size_bytes())) << t.name;
    }
  }
}

TEST_F(Gguf, ValuesOfEveryTypeComeBack) {
  GgufBuilder b;
  b.key("u8", GgufType::kU8, GgufBuilder::raw<uint8_t>(200)).key("i8", GgufType::kI8, GgufBuilder::raw<int8_t>(-3));
  b.key("u16", GgufType::kU16, GgufBuilder::raw<uint16_t>(60000))
      .key("i16", GgufType::kI16, GgufBuilder::raw<int16_t>(-4));
  b.key("u32", 4000000000u).key("i32", GgufType::kI32, GgufBuilder::raw<int32_t>(-5));
  b.key("u64", GgufType::kU64, GgufBuilder::raw<uint64_t>(1ull << 40))
      .key("i64", GgufType::kI64, GgufBuilder::raw<int64_t>(6));
  b.key("f32", 0.0707f).key("f64", GgufType::kF64, GgufBuilder::raw(0.1)).key("yes", true).key("text", "S\xc3\xa4");
  b.key("list", std::vector<std::string>{"x", ""}).key("numbers", std::vector<int32_t>{7, 7, 7});
  b.key("mixed", std::vector<int32_t>{7, 8}).key("huge", GgufType::kU64, GgufBuilder::raw(~uint64_t{0}));
  const GgufFile file(put(b.bytes()));
  const GgufMetadata& m = file.metadata();
  EXPECT_EQ(m.integer("u8"), 200u);
  EXPECT_EQ(m.integer("u16"), 60000u);
  EXPECT_EQ(m.integer("u32"), 4000000000u);
  EXPECT_EQ(m.integer("u64"), 1ull << 40);
  EXPECT_EQ(m.integer("i64"), 6u);
  EXPECT_EQ(m.integers("i8"), std::vector<int64_t>{-3});
  EXPECT_EQ(m.integers("i16"), std::vector<int64_t>{-4});
  EXPECT_EQ(m.number("f32"), 0.0707) << "the decimal that was rounded to f32";
  EXPECT_EQ(m.number("f64"), 0.1);
  EXPECT_EQ(m.number("i32"), -5.0);
  EXPECT_EQ(m.boolean("yes"), true);
  EXPECT_EQ(m.string("text"), "S\xc3\xa4");
  EXPECT_EQ(m.strings("list"), (std::vector<std::string>{"x", ""}));
  EXPECT_EQ(m.integer("numbers"), 7u) << "the same for every layer";
  EXPECT_EQ(m.integer("absent"), std::nullopt);
  EXPECT_TRUE(m.strings("absent").empty());
  for (const char* key : {"i32", "f32", "text", "list", "mixed", "huge", "yes"})
    EXPECT_THROW((void)m.integer(key), Error) << key;
  EXPECT_THROW((void)m.boolean("u8"), Error);
  EXPECT_THROW((void)m.string("u8"), Error);
  EXPECT_THROW((void)m.strings("numbers"), Error);
  EXPECT_THROW((void)m.number("list"), Error);
}

TEST_F(Gguf, VersionTwoAndFilesWithoutTensorsAreRead) {
  GgufBuilder b;
  b.version = 2;
  b.key("general.architecture", "llama");
  const GgufFile file(put(b.bytes()));
  EXPECT_EQ(file.version(), 2u);
  EXPECT_TRUE(file.tensors().empty());
}

TEST_F(Gguf, AnotherAlignmentIsFollowed) {
  GgufBuilder b;
  b.alignment = 8;
  b.key("general.alignment", 8u).tensor("a", {1}, 0, "abcd").tensor("b", {1}, 0, "efgh");
  EXPECT_EQ(0, std::memcmp(GgufFile(put(b.bytes())).tensor("b").bytes(), "efgh", 4));
}

TEST_F(Gguf, HostileFilesAreRefusedByName) {
  const auto raw32 = [](uint32_t x) { return GgufBuilder::raw(x); };
  const auto raw64 = [](uint64_t x) { return GgufBuilder::raw(x); };
  const uint32_t string_id = 8, array_id = 9;
  const std::string data(64, 'd');
  struct Case {
    const char* why;
    std::string bytes, expected;
  };
  const auto tensor = [](const std::vector<uint64_t>& ne, uint32_t type, const std::string& bytes) {
    return GgufBuilder().tensor("weird.tensor", ne, type, bytes).bytes();
  };
  const auto built = [](auto&& edit) {
    GgufBuilder b = small();
    edit(b);
    return b.bytes();
  };
  const std::vector<Case> cases = {
      {"another format", "BLOB of another kind", "begins with"},
      {"version 1", built([](GgufBuilder& b) { b.version = 1; }), "version 2 or 3"},
      {"big-endian", built([](GgufBuilder& b) { b.version = 0x03000000; }), "big-endian"},
      {"2^60 keys", built([](GgufBuilder& b) { b.extra_keys = int64_t{1} << 60; }), "metadata keys"},
      {"2^60 tensors", built([](GgufBuilder& b) { b.extra_tensors = int64_t{1} << 60; }), "tensors"},
      {"-1 tensors", built([](GgufBuilder& b) { b.extra_tensors = -3; }), "tensors"},
      {"one key too many", built([](GgufBuilder& b) { b.extra_keys = 1; }), ""},
      {"string beyond the file", GgufBuilder().key("k", GgufType::kString, raw64(~uint64_t{0})).bytes(), "cut off"},
      {"array of 2^61", GgufBuilder().key("k", GgufType::kArray, raw32(4) + raw64(uint64_t{1} << 61)).bytes(),
       "cut off"},
      {"array of 2^62 strings",
       GgufBuilder().key("k", GgufType::kArray, raw32(string_id) + raw64(uint64_t{1} << 62)).bytes(), "cut off"},
      {"nested array",
       GgufBuilder().key("k", GgufType::kArray, raw32(array_id) + raw64(1) + raw32(4) + raw64(0)).bytes(),
       "element type 9"},
      {"unknown value type", GgufBuilder().key("k", static_cast<GgufType>(13), raw64(0)).bytes(), "found 13"},
      {"empty key", GgufBuilder().key("", 1u).bytes(), "metadata key"},
      {"long key", GgufBuilder().key(std::string(70000, 'k'), 1u).bytes(), "metadata key"},
      {"key twice", built([](GgufBuilder& b) { b.key("llama.block_count", 3u); }), "twice"},
      {"tensor twice", built([&](GgufBuilder& b) { b.tensor("w", {4}, 0, "abcdabcdabcdabcd"); }), "twice"},
      {"no dimensions", tensor({}, 0, data), "1 to 4 dimensions"},
      {"five dimensions", tensor({1, 1, 1, 1, 1}, 0, data), "1 to 4 dimensions"},
      {"dimension 0", tensor({4, 0}, 0, data), "positive"},
      {"product overflows", tensor({uint64_t{1} << 32, uint64_t{1} << 32, 4}, 0, data), "larger than any memory"},
      {"bytes overflow", tensor({uint64_t{1} << 62}, 0, data), "larger than any memory"},
      {"removed type", tensor({32}, 4, data), "removed"},
      {"ternary type", tensor({256}, 35, data), "TQ2_0"},
      {"private type", tensor({32}, 140, data), "140"},
      {"half a block", tensor({16}, 8, data), "whole Q8_0 blocks"},
      {"data beyond the file", tensor({1000}, 0, data), "cut off"},
      {"offset near 2^64", GgufBuilder().tensor_info("weird.tensor", {4}, 0, ~uint64_t{31}).bytes(), "cut off"},
      {"unaligned offset", GgufBuilder().tensor("a", {8}, 0, data).tensor_info("weird.tensor", {4}, 0, 4).bytes(),
       "multiple of 32"},
      {"overlap", GgufBuilder().tensor("a", {16}, 0, data).tensor_info("b", {4}, 0, 32).bytes(), "overlap"},
      {"alignment 24", built([](GgufBuilder& b) { b.key("general.alignment", 24u); }), "power of two"},
      {"alignment 0", built([](GgufBuilder& b) { b.key("general.alignment", 0u); }), "power of two"},
      {"alignment 2^31", built([](GgufBuilder& b) { b.key("general.alignment", 1u << 31); }), "power of two"},
      {"alignment as text", built([](GgufBuilder& b) { b.key("general.alignment", "32"); }), "general.alignment"},
      {"long tensor name", GgufBuilder().tensor(std::string(300, 'n'), {4}, 0, data).bytes(), "tensor name"},
  };
  for (const Case& c : cases) {
    const std::string error = error_of(c.bytes);
    EXPECT_NE(error, "") << c.why;
    EXPECT_NE(error.find(c.expected), std::string::npos) << c.why << ": " << error;
  }
}

TEST_F(Gguf, WrongSplitsAreRefusedByName) {
  const auto part = [](uint32_t number, uint32_t count, const std::string& tensor) {
    return GgufBuilder()
        .key("split.no", number)
        .key("split.count", count)
        .key("split.tensors.count", 2u)
        .tensor(tensor, {4}, 0, std::string(16, 't'))
        .bytes();
  };
  const auto error = [&](const fs::path& path) -> std::string {
    try {
      const GgufFile file(path);
      return "";
    } catch (const Error& e) {
      return e.what();
    }
  };
  const fs::path first = put(part(0, 2, "a"), "m-00001-of-00002.gguf");
  EXPECT_NE(error(first).find("part 2 of 2 is missing"), std::string::npos) << error(first);
  put("", "m-00002-of-00002.gguf.part");
  EXPECT_NE(error(first).find("still downloading"), std::string::npos) << error(first);
  const fs::path second = put(part(1, 2, "b"), "m-00002-of-00002.gguf");
  EXPECT_EQ(error(first), "");
  EXPECT_EQ(error(second), "") << "any part leads to the whole";
  put(part(1, 2, "a"), "m-00002-of-00002.gguf");
  EXPECT_NE(error(first).find("earlier part"), std::string::npos);
  put(part(0, 2, "b"), "m-00002-of-00002.gguf");
  EXPECT_NE(error(first).find("split.no"), std::string::npos);
  put(part(1, 3, "b"), "m-00002-of-00002.gguf");
  EXPECT_NE(error(first).find("split.count"), std::string::npos);
  put(GgufBuilder().key("split.no", 1u).key("split.count", 2u).bytes(), "m-00002-of-00002.gguf");
  EXPECT_NE(error(first).find("split.tensors.count"), std::string::npos);
  EXPECT_NE(error(put(part(0, 2, "a"), "renamed.gguf")).find("-00001-of-"), std::string::npos);
  EXPECT_NE(error(put(part(0, 65535, "a"), "n-00001-of-65535.gguf")).find("missing"), std::string::npos);
  EXPECT_NE(error(put(part(1, 2, "b"), "k-00002-of-00002.gguf")).find("first part"), std::string::npos);
}

TEST_F(Gguf, TruncationAtEveryByteIsAnError) {
  GgufBuilder b = small();
  const std::string whole = b.bytes();
  ASSERT_EQ(error_of(whole), "");
  const size_t padding = 128 - 3 * 34;  // behind the last tensor's data: nobody misses it
  for (size_t n = 0; n < whole.size() - padding; ++n) EXPECT_NE(error_of(whole.substr(0, n)), "") << n;
}

TEST_F(Gguf, MutatedFilesGiveErrorOrSuccess) {
  const std::string whole = small().bytes();
  std::mt19937_64 random(20261125);
  size_t opened = 0;
  for (int round = 0; round < 4000; ++round) {
    std::string bytes = whole;
    for (size_t k = 0; k < 1 + random() % 3; ++k) bytes[random() % bytes.size()] = static_cast<char>(random());
    opened += error_of(bytes).empty();
  }
  EXPECT_GT(opened, 0u);
}

}  // namespace
}  // namespace fathom
