// The file of repacked weights gives the bytes that packing gives, and is refused as soon as anything in it is wrong.
#include "models/repack_file.h"

#include <cstring>

#include "models/model.h"
#include "tests/testing.h"

namespace fathom {
namespace {

namespace fs = std::filesystem;

const RepackKey kKey{std::string(64, 'a'), "avx2"};

/// Models of every kind: MLA with joined and with split kv_b, experts, FP8, blocks of 32 and of 256, a tied head.
std::vector<fs::path> models() {
  std::vector<fs::path> found;
  for (const char* name : {"gguf/qwen2-wide.Q4_K_M.gguf", "gguf/v2-lite.Q8_0.gguf", "gguf/v3-legacy.Q8_0.gguf",
                           "gguf/v3-mtp.gguf", "models/v3-fp8", "models/qwen3-moe", "models/llama-tied"})
    if (fs::exists(testing::golden_dir() / name)) found.push_back(testing::golden_dir() / name);
  return found;
}

/// What a model's weights are, in words where they differ.
void expect_same(const Weights& got, const Weights& want) {
  ASSERT_EQ(got.in_order().size(), want.in_order().size());
  for (size_t i = 0; i < want.in_order().size(); ++i) {
    const Weight &a = *got.in_order()[i], &b = *want.in_order()[i];
    ASSERT_EQ(a.name(), b.name());
    EXPECT_EQ(a.dtype(), b.dtype());
    EXPECT_EQ(a.always_exact, b.always_exact);
    ASSERT_EQ(a.size_bytes(), b.size_bytes());
    EXPECT_EQ(0, std::memcmp(a.view().data, b.view().data, b.size_bytes())) << b.name();
    EXPECT_EQ(a.view().scale_inv == nullptr, b.view().scale_inv == nullptr);
  }
}

class RepackFileTest : public ::testing::Test {
 protected:
  std::unique_ptr<const Model> write(const fs::path& model, size_t threads = 1) {
    std::unique_ptr<const Model> packed = load_model(*open_checkpoint(model));
    ThreadPool pool(threads);
    const uint64_t size = write_repack_file(path_, kKey, packed->weights(), pool);
    EXPECT_EQ(size, fs::file_size(path_));
    return packed;
  }
  std::unique_ptr<const Model> read(const fs::path& model, bool in_place, size_t threads = 1) {
    RepackFile file(path_, kKey, in_place);
    std::unique_ptr<const Model> loaded =
        load_model(*open_checkpoint(model), {.progress = {}, .threads = threads, .repacked = &file});
    file.require_end();
    return loaded;
  }
  /// The Error's message; empty: the file was taken.
  std::string refusal(const fs::path& model) {
    try {
      read(model, true);
    } catch (const Error& e) {
      return e.what();
    }
    return "";
  }

  testing::TempDir dir_;
  fs::path path_ = repack_path(dir_.path() / "repack", kKey);
};

TEST_F(RepackFileTest, GivesTheBytesThatPackingGives) {
  EXPECT_EQ(path_.filename().string(), std::string(64, 'a') + ".avx2.v2");
  for (const fs::path& model : models())
    for (const size_t threads : {1, 3}) {
      SCOPED_TRACE(model.string());
      const std::unique_ptr<const Model> want = write(model, threads);
      expect_same(read(model, true, threads)->weights(), want->weights());
      expect_same(read(model, false, threads)->weights(), want->weights());
    }
}

TEST_F(RepackFileTest, ReplacesThoseOfOlderVersions) {
  if (models().empty()) GTEST_SKIP() << "needs golden/gguf";
  const fs::path folder = path_.parent_path(), old = folder / (std::string(64, 'a') + ".avx2.v1"),
                 others = folder / (std::string(64, 'b') + ".avx2.v1");
  fs::create_directories(folder);
  for (const fs::path& path : {old, others}) std::ofstream(path) << "1234";
  write(models()[0]);
  EXPECT_TRUE(fs::exists(path_));
  EXPECT_FALSE(fs::exists(old));
  EXPECT_TRUE(fs::exists(others));
}

TEST_F(RepackFileTest, DamageIsFound) {
  const fs::path model = testing::golden_dir() / "gguf" / "qwen2-wide.Q4_K_M.gguf";
  if (!fs::exists(model)) GTEST_SKIP() << "needs golden/gguf";
  write(model);
  const std::string whole = testing::read_file(path_);
  const auto put = [&](const std::string& text) { std::ofstream(path_, std::ios::binary) << text; };
  for (const size_t size : {size_t{0}, size_t{7}, size_t{255}, size_t{256}, size_t{4096}, whole.size() - 1}) {
    put(whole.substr(0, size));
    EXPECT_NE(refusal(model), "") << "cut off at " << size;
  }
  put(whole + "x");
  EXPECT_NE(refusal(model), "");
  // Zeros that fill up to an alignment carry nothing; all else counts.
  for (size_t at = 0; at < whole.size(); at += at < 600 ? 8 : 6151) {
    if (at >= 256 && whole.compare(at, 64, std::string(64, '\0')) == 0) continue;
    std::string text = whole;
    text[at] = static_cast<char>(text[at] ^ 1 << at / 8 % 8);
    put(text);
    EXPECT_NE(refusal(model), "") << "byte " << at;
  }
  put(whole);
  EXPECT_EQ(refusal(model), "");
}

TEST_F(RepackFileTest, AnotherModelKernelsOrVersionAreRefused) {
  const fs::path gguf = testing::golden_dir() / "gguf";
  if (!fs::exists(gguf / "v2-lite.Q8_0.gguf")) GTEST_SKIP() << "needs golden/gguf";
  write(gguf / "v2-lite.Q8_0.gguf");
  EXPECT_THROW(RepackFile(path_, {std::string(64, 'b'), "avx2"}), Error);
  EXPECT_THROW(RepackFile(path_, {std::string(64, 'a'), "ref"}), Error);
  for (const char* other : {"v2-lite.Q4_K_M.gguf", "v2-lite.gguf", "qwen2-wide.Q8_0.gguf"})
    EXPECT_NE(refusal(gguf / other), "") << other;
  std::string text = testing::read_file(path_);
  text[8] = 3;
  std::ofstream(path_, std::ios::binary) << text;
  EXPECT_NE(refusal(gguf / "v2-lite.Q8_0.gguf").find("version 2, found 3"), std::string::npos);
}

TEST_F(RepackFileTest, FilesOfRemovedWeightsGo) {
  const fs::path folder = dir_.path() / "repack";
  fs::create_directories(folder);
  for (const char c : {'a', 'b'})
    for (const char* end : {".avx2.v1", ".ref.v1"}) std::ofstream(folder / (std::string(64, c) + end)) << "1234";
  EXPECT_EQ(remove_repack_files(folder, {std::string(64, 'a')}), 8u);
  EXPECT_FALSE(fs::exists(folder / (std::string(64, 'a') + ".avx2.v1")));
  EXPECT_TRUE(fs::exists(folder / (std::string(64, 'b') + ".ref.v1")));
  EXPECT_EQ(remove_repack_files(dir_.path() / "absent", {std::string(64, 'a')}), 0u);
}

}  // namespace
}  // namespace fathom
