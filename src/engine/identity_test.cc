#include "engine/identity.h"

#include "tests/testing.h"

namespace fathom {
namespace {

namespace fs = std::filesystem;

TEST(Identity, DependsOnTheWeightsAlone) {
  const fs::path gguf = testing::golden_dir() / "gguf";
  if (!fs::exists(gguf / "v3.Q4_K_M.gguf")) GTEST_SKIP() << "needs golden/gguf";
  const std::string one = weights_id(*open_checkpoint(gguf / "v3.Q4_K_M.gguf"));
  EXPECT_EQ(one.size(), 64u);
  EXPECT_EQ(one, weights_id(*open_checkpoint(gguf / "split" / "v3.Q4_K_M-00001-of-00003.gguf")))
      << "split or not, the same tensors";
  EXPECT_NE(one, weights_id(*open_checkpoint(gguf / "v3.Q8_0.gguf")));
}

TEST(Identity, IsRememberedUntilAFileChanges) {
  const testing::TempDir dir;
  const fs::path model = dir.path() / "m.gguf", memory = dir.path() / "state" / "ids.json";
  fs::copy(testing::golden_dir() / "gguf" / "qwen2.gguf", model);
  const std::string id = remembered_weights_id(*open_checkpoint(model), model, memory);
  EXPECT_EQ(id, weights_id(*open_checkpoint(model)));
  // What is remembered is believed: another text under the same key comes back.
  std::string text = testing::read_file(memory);
  text.replace(text.find(id), id.size(), std::string(64, 'f'));
  std::ofstream(memory) << text;
  EXPECT_EQ(remembered_weights_id(*open_checkpoint(model), model, memory), std::string(64, 'f'));
  fs::permissions(model, fs::perms::owner_write, fs::perm_options::add);
  fs::last_write_time(model, fs::last_write_time(model) + std::chrono::seconds(5));
  EXPECT_EQ(remembered_weights_id(*open_checkpoint(model), model, memory), id);
  std::ofstream(memory) << "{ damaged";
  EXPECT_EQ(remembered_weights_id(*open_checkpoint(model), model, memory), id);
}

TEST(Identity, NumericsNameProfileAndCache) {
  const std::string exact = numerics_id("w", Profile::kExact, CacheType::kF32);
  EXPECT_NE(exact, numerics_id("w", Profile::kInt8, CacheType::kF32));
  EXPECT_NE(exact, numerics_id("w", Profile::kExact, CacheType::kBF16));
  EXPECT_NE(numerics_id("w", Profile::kExact, CacheType::kQ8), numerics_id("w", Profile::kExact, CacheType::kBF16));
  EXPECT_NE(exact, numerics_id("v", Profile::kExact, CacheType::kF32));
  EXPECT_EQ(exact, numerics_id("w", Profile::kExact, CacheType::kF32));
}

TEST(Identity, CacheTypesHaveNames) {
  for (const CacheType type : {CacheType::kF32, CacheType::kBF16, CacheType::kQ8})
    EXPECT_EQ(cache_type_from_name(name(type)), type);
  EXPECT_EQ(cache_type_from_name("q4"), std::nullopt);
}

}  // namespace
}  // namespace fathom
