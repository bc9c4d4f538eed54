#include "quant/convert_to_gguf.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <fstream>

#include "formats/config_gguf.h"
#include "formats/gguf.h"
#include "formats/safetensors.h"
#include "quant/convert_to_gguf_about.h"
#include "quant/convert_to_gguf_data.h"
#include "tests/testing.h"

namespace fathom {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using testing::TempDir;

/// Keys that a file says of itself, and those that golden files have made up.
bool is_compared(const std::string& key) {
  for (const char* prefix : {"tokenizer.", "fathom.", "general.name", "general.version", "general.sampling."})
    if (key.starts_with(prefix)) return false;
  return true;
}

std::string bytes_of(const Tensor& t) { return {reinterpret_cast<const char*>(t.bytes()), t.size_bytes()}; }

void expect_same_file(const GgufFile& got, const GgufFile& want) {
  for (const auto& entry : want.metadata().entries()) {
    if (!is_compared(entry.key)) continue;
    const auto& entries = got.metadata().entries();
    const auto it = std::find_if(entries.begin(), entries.end(), [&](const auto& e) { return e.key == entry.key; });
    ASSERT_NE(it, entries.end()) << entry.key;
    EXPECT_EQ(it->type, entry.type) << entry.key;
    EXPECT_EQ(got.metadata().value_bytes(*it), want.metadata().value_bytes(entry)) << entry.key;
  }
  for (const auto& entry : got.metadata().entries())
    EXPECT_TRUE(!is_compared(entry.key) || want.metadata().has(entry.key)) << entry.key << " is too much";
  EXPECT_EQ(got.tensors().size(), want.tensors().size());
  for (const TensorInfo& t : want.tensors()) {
    ASSERT_TRUE(got.has(t.name)) << t.name;
    const Tensor a = got.tensor(t.name), b = want.tensor(t.name);
    EXPECT_EQ(a.dtype(), b.dtype()) << t.name;
    ASSERT_EQ(a.shape(), b.shape()) << t.name;
    EXPECT_TRUE(bytes_of(a) == bytes_of(b)) << t.name;
  }
}

struct Twin {
  const char *model, *gguf;
  std::optional<DType> type;
  bool mtp = true, fp8_as_q8 = false;
};

/// The files that the reference converter made of the same folders.
TEST(ConvertToGguf, EqualsTheReferenceConverter) {
  const Twin twins[] = {{"llama-tied", "llama-tied", std::nullopt},
                        {"llama3", "llama3", DType::kF32},
                        {"qwen2", "qwen2", std::nullopt},
                        {"qwen2", "qwen2", DType::kBF16},
                        {"qwen2", "qwen2.F16", DType::kF16},
                        {"qwen2-wide", "qwen2-wide", std::nullopt},
                        {"qwen2-wide", "qwen2-wide.Q8_0", DType::kQ8_0},
                        {"qwen3", "qwen3", std::nullopt},
                        {"qwen3-moe", "qwen3-moe", std::nullopt},
                        {"v2-lite", "v2-lite", std::nullopt},
                        {"v2", "v2", std::nullopt},
                        {"v3", "v3", std::nullopt, /*mtp=*/false},
                        {"v3", "v3-mtp", std::nullopt},
                        {"v3-fp8", "v3-fp8", DType::kBF16, /*mtp=*/false, /*fp8_as_q8=*/true}};
  const TempDir temp;
  for (const Twin& twin : twins) {
    SCOPED_TRACE(twin.gguf);
    const fs::path file = temp.path() / "a.gguf";
    ToGgufOptions options;
    options.types = {twin.type, twin.fp8_as_q8, twin.mtp};
    options.threads = 2;
    const ToGgufResult result = convert_to_gguf(testing::golden_dir() / "models" / twin.model, file, options);
    EXPECT_EQ(result.bytes, fs::file_size(file));
    const GgufFile got(file), want(testing::golden_dir() / "gguf" / cat(twin.gguf, ".gguf"));
    expect_same_file(got, want);
    EXPECT_EQ(result.tensors, want.tensors().size());
  }
}

}  // namespace
}  // namespace fathom
