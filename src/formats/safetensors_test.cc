#include "formats/safetensors.h"

#include <cstring>
#include <fstream>
#include <random>

#include "tests/testing.h"

namespace fathom {
namespace {

namespace fs = std::filesystem;

std::string file_of(const std::string& header, const std::string& data) {
  const uint64_t length = header.size();
  std::string out(8, '\0');
  std::memcpy(out.data(), &length, 8);
  return out + header + data;
}

class Safetensors : public ::testing::Test {
 protected:
  fs::path put(const std::string& bytes, const char* name = "x.safetensors") {
    fs::remove(dir_.path() / name);  // rewriting in place would wait for the disk each time
    std::ofstream(dir_.path() / name, std::ios::binary) << bytes;
    return dir_.path() / name;
  }
  /// The message of the Error, or "" where the file opens.
  std::string error_of(const std::string& bytes) {
    try {
      const SafetensorsFile file(put(bytes));
      for (const StoredRange& r : file.ranges()) (void)file.tensor(r.info.name);
      return "";
    } catch (const Error& e) {
      return e.what();
    }
  }
  testing::TempDir dir_;
};

TEST_F(Safetensors, EveryGoldenFileOpens) {
  size_t files = 0;
  for (const fs::directory_entry& entry : fs::recursive_directory_iterator(testing::golden_dir())) {
    if (entry.path().extension() != ".safetensors") continue;
    const SafetensorsFile file(entry.path());
    uint64_t bytes = 0;
    for (const StoredRange& r : file.ranges()) bytes += file.tensor(r.info.name).size_bytes();
    EXPECT_GT(bytes, 0u) << entry.path();
    ++files;
  }
  EXPECT_GT(files, 0u);
}

TEST_F(Safetensors, WhatIsWrittenIsReadBack) {
  std::vector<std::pair<std::string, Tensor>> tensors;
  for (DType type : {DType::kU8, DType::kF32, DType::kBF16, DType::kI64, DType::kF8E4M3, DType::kF64, DType::kBool}) {
    for (const Shape& shape : {Shape{3, 5}, Shape{}, Shape{0, 4}, Shape{1, 2, 3, 1}}) {
      Tensor t = make_tensor(type, shape);
      const std::vector<uint8_t> bytes = testing::random_bytes(t.size_bytes(), tensors.size());
      if (!bytes.empty()) std::memcpy(t.bytes(), bytes.data(), bytes.size());
      tensors.emplace_back(cat("tensor \"", tensors.size(), "\" \xc3\xa4"), t);
    }
  }
  const fs::path path = dir_.path() / "out.safetensors";
  write_safetensors(path, tensors, {{"format", "pt"}, {"step", "7"}});
  const SafetensorsFile file(path);
  EXPECT_EQ(file.metadata(), (std::map<std::string, std::string>{{"format", "pt"}, {"step", "7"}}));
  ASSERT_EQ(file.ranges().size(), tensors.size());
  for (const auto& [name, want] : tensors) {
    const Tensor got = file.tensor(name);
    EXPECT_EQ(got.dtype(), want.dtype());
    EXPECT_EQ(got.shape(), want.shape());
    ASSERT_EQ(got.size_bytes(), want.size_bytes());
    EXPECT_EQ(0, std::memcmp(got.bytes(), want.bytes(), want.size_bytes())) << name;
  }
  EXPECT_EQ(std::distance(fs::directory_iterator(dir_.path()), fs::directory_iterator()), 1) << "nothing left aside";
  EXPECT_THROW((void)file.tensor("absent"), Error);
}

TEST_F(Safetensors, AFailedWriteLeavesTheOldFile) {
  const fs::path path = dir_.path() / "out.safetensors";
  write_safetensors(path, {{"a", zeros(DType::kF32, {2})}});
  EXPECT_THROW(write_safetensors(path, {{"a", zeros(DType::kF32, {2})}, {"a", zeros(DType::kF32, {2})}}), Error);
  EXPECT_THROW(write_safetensors(path, {{"a", zeros(DType::kQ8_0, {32})}}), Error);
  EXPECT_THROW(write_safetensors(dir_.path() / "absent" / "x", {}), Error);
  EXPECT_TRUE(SafetensorsFile(path).has("a"));
}

TEST_F(Safetensors, UnalignedDataIsCopiedNotMisread) {
  const std::string data = "x" + std::string("\0\0\x80\x3f", 4);
  const std::string header =
      R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"b":{"dtype":"F32","shape":[1],"data_offsets":[1,5]}})";
  const SafetensorsFile file(put(file_of(header, data)));
  EXPECT_EQ(file.tensor("b").data<float>()[0], 1.0f);
}

TEST_F(Safetensors, HostileHeadersAreRefusedByName) {
  const std::string eight(8, '\0');
  const auto one = [](const std::string& entry) { return "{\"w\":" + entry + "}"; };
  struct Case {
    const char* why;
    std::string bytes, expected;
  };
  const std::vector<Case> cases = {
      {"empty", "", "cut off"},
      {"header beyond the file", std::string("\xff\0\0\0\0\0\0\0{}", 10), "cut off"},
      {"header of exabytes", std::string("\xff\xff\xff\xff\xff\xff\xff\xff{}", 10), "not a safetensors file"},
      {"no JSON", file_of("{\"w\":", ""), "expected JSON"},
      {"no object", file_of("[1]", ""), "expected a JSON object"},
      {"deep JSON", file_of(std::string(5000, '['), ""), "expected JSON"},
      {"unknown type", file_of(one(R"({"dtype":"F8_E5M2","shape":[8],"data_offsets":[0,8]})"), eight), "F8_E5M2"},
      {"wrong size", file_of(one(R"({"dtype":"F32","shape":[3],"data_offsets":[0,8]})"), eight), "takes 12 bytes"},
      {"beyond the file", file_of(one(R"({"dtype":"F32","shape":[4],"data_offsets":[0,16]})"), eight), "cut off"},
      {"backwards", file_of(one(R"({"dtype":"F32","shape":[2],"data_offsets":[8,0]})"), eight), "data_offsets"},
      {"negative", file_of(one(R"({"dtype":"F32","shape":[-2],"data_offsets":[0,8]})"), eight), "whole number"},
      {"a fraction", file_of(one(R"({"dtype":"F32","shape":[2.5],"data_offsets":[0,8]})"), eight), "whole number"},
      {"product overflows to 8",
       file_of(one(R"({"dtype":"F32","shape":[4611686018427387904,4611686018427387904,2],"data_offsets":[0,8]})"),
               eight),
       "larger than any memory"},
      {"overflow hidden by a zero",
       file_of(one(R"({"dtype":"F32","shape":[0,4611686018427387904,4611686018427387904],"data_offsets":[0,0]})"), ""),
       "larger than any memory"},
      {"five dimensions", file_of(one(R"({"dtype":"U8","shape":[1,1,1,1,8],"data_offsets":[0,8]})"), eight),
       "4 dimensions"},
      {"offset near 2^64",
       file_of(one(R"({"dtype":"U8","shape":[8],"data_offsets":[18446744073709551600,18446744073709551608]})"), eight),
       "cut off"},
      {"overlap",
       file_of(
           R"({"a":{"dtype":"U8","shape":[8],"data_offsets":[0,8]},"b":{"dtype":"U8","shape":[4],"data_offsets":[4,8]}})",
           eight),
       "overlap"},
      {"hole", file_of(R"({"b":{"dtype":"U8","shape":[4],"data_offsets":[4,8]}})", eight), "belong to no tensor"},
      {"tail", file_of(R"({"b":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}})", eight), "belong to no tensor"},
      {"twice",
       file_of(
           R"({"w":{"dtype":"U8","shape":[8],"data_offsets":[0,8]},"w":{"dtype":"I64","shape":[1],"data_offsets":[0,8]}})",
           eight),
       "twice"},
      {"metadata no text", file_of(R"({"__metadata__":{"a":1}})", ""), "expected a string"},
  };
  for (const Case& c : cases) {
    const std::string error = error_of(c.bytes);
    EXPECT_NE(error.find(c.expected), std::string::npos) << c.why << ": " << error;
  }
}

std::string small_file() {
  return file_of(R"({"__metadata__":{"format":"pt"},"b":{"dtype":"BF16","shape":[2,3],"data_offsets":[16,28]},)"
                 R"("a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}})",
                 std::string(28, 'x'));
}

TEST_F(Safetensors, TruncationAtEveryByteIsAnError) {
  const std::string whole = small_file();
  EXPECT_EQ(error_of(whole), "");
  for (size_t n = 0; n < whole.size(); ++n) EXPECT_NE(error_of(whole.substr(0, n)), "") << n;
}

TEST_F(Safetensors, MutatedFilesGiveErrorOrSuccess) {
  const std::string whole = small_file();
  std::mt19937_64 random(20261125);
  size_t opened = 0;
  for (int round = 0; round < 3000; ++round) {
    std::string bytes = whole;
    for (size_t k = 0; k < 1 + random() % 3; ++k) bytes[random() % bytes.size()] = static_cast<char>(random());
    opened += error_of(bytes).empty();
  }
  EXPECT_GT(opened, 0u);
}

}  // namespace
}  // namespace fathom
