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
  const WeightsIdMemory ids(memory);
  const std::string old_stamp = WeightsIdMemory::stamp(model), a(64, 'a'), b(64, 'b');
  EXPECT_EQ(ids.recall(old_stamp), std::nullopt);
  EXPECT_TRUE(ids.remember(old_stamp, a).empty());
  EXPECT_EQ(ids.recall(old_stamp), a);
  fs::permissions(model, fs::perms::owner_write, fs::perm_options::add);
  fs::last_write_time(model, fs::last_write_time(model) + std::chrono::seconds(5));
  const std::string stamp = WeightsIdMemory::stamp(model);
  EXPECT_EQ(ids.recall(stamp), std::nullopt);
  EXPECT_EQ(ids.remember(stamp, b), std::vector<std::string>{a}) << "nothing has the old id now";
  EXPECT_EQ(ids.recall(old_stamp), std::nullopt);
  std::ofstream(memory) << "{ damaged";
  EXPECT_EQ(ids.recall(stamp), std::nullopt);
  ids.remember(stamp, "../../not an id");
  EXPECT_EQ(ids.recall(stamp), std::nullopt);
}

TEST(Identity, AModelIsForgottenAndWhatAnotherHasIsKept) {
  const testing::TempDir dir;
  const WeightsIdMemory ids(dir.path() / "ids.json");
  const std::string a(64, 'a'), b(64, 'b');
  fs::create_directories(dir.path() / "models" / "x");
  const auto stamp = [&](const char* name) {
    std::ofstream(dir.path() / "models" / "x" / name) << name;
    return WeightsIdMemory::stamp(dir.path() / "models" / "x" / name);
  };
  ids.remember(stamp("1.gguf"), a);
  ids.remember(stamp("2.gguf"), a);
  ids.remember(stamp("3.gguf"), b);
  EXPECT_TRUE(ids.forget(dir.path() / "models" / "x" / "1.gguf").empty());
  EXPECT_TRUE(ids.forget(dir.path() / "models" / "x" / "1").empty());
  EXPECT_EQ(ids.forget(dir.path() / "models" / "x"), (std::vector<std::string>{a, b}));
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
