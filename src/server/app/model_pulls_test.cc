#include "server/app/model_pulls.h"

#include <gtest/gtest.h>

#include "server/app/recommended.h"

namespace fathom {
namespace {

using namespace std::chrono_literals;

TEST(TransferSpeed, IsThatOfTheLastSeconds) {
  const TransferSpeed::Clock::time_point start{};
  TransferSpeed speed;
  EXPECT_EQ(speed.bytes_per_second(), 0);
  speed.add(1'000'000, start);  // of an earlier pull: it came in no time
  EXPECT_EQ(speed.bytes_per_second(), 0);
  speed.add(1'100'000, start + 100ms);  // too soon to say anything
  EXPECT_EQ(speed.bytes_per_second(), 0);
  speed.add(1'500'000, start + 500ms);
  EXPECT_DOUBLE_EQ(speed.bytes_per_second(), 1e6);
  for (int i = 2; i < 200; ++i) speed.add(1'500'000, start + i * 500ms);
  EXPECT_EQ(speed.bytes_per_second(), 0) << "it has stalled";
  speed.add(0, start + 101s);  // a file that was broken is begun anew
  speed.add(10, start + 102s);
  speed.add(20, start + 104s);
  EXPECT_DOUBLE_EQ(speed.bytes_per_second(), 5);
}

TEST(Recommended, AreSizedToTheMachine) {
  const auto fits_of = [](const json::array& list, size_t i) { return list[i].at("fits").as_string(); };
  const size_t n = recommended_models().size();
  constexpr uint64_t kGB = 1'000'000'000, kDisk = 1000 * kGB;
  const json::array none = recommended_json({.free = 0, .reclaimable = 0}, kDisk);
  const json::array all = recommended_json({.free = 100 * kGB, .reclaimable = 0}, kDisk);
  const json::array full = recommended_json({.free = 100 * kGB, .reclaimable = 0}, 0);
  const json::array later = recommended_json({.free = 0, .reclaimable = 100 * kGB}, kDisk);
  for (size_t i = 0; i < n; ++i) {
    EXPECT_EQ(fits_of(none, i), "no_memory");
    EXPECT_EQ(fits_of(all, i), "now");
    EXPECT_EQ(fits_of(full, i), "no_disk");
    EXPECT_EQ(fits_of(later, i), "after_unloading");
    EXPECT_FALSE(none[i].at("best").as_bool());
    EXPECT_EQ(all[i].at("best").as_bool(), i + 1 == n);
    EXPECT_EQ(later[i].at("best").as_bool(), i + 1 == n);
  }
  // 16 GB: the largest that leaves 40% is the one with 8B; the one with 14B fits, too.
  const json::array laptop = recommended_json({.free = 14 * kGB, .reclaimable = 0}, kDisk);
  for (const json::value& m : laptop) EXPECT_EQ(m.at("best").as_bool(), m.at("id").as_string() == "r1-llama-8b");
  EXPECT_EQ(fits_of(laptop, n - 2), "now");
  EXPECT_EQ(fits_of(laptop, n - 1), "no_memory");
}

TEST(Recommended, TakeWeightsAndAContext) {
  for (const RecommendedModel& m : recommended_models()) {
    // Keys and values of 4,096 positions in bf16 are 2 * 2 bytes each.
    const uint64_t cache = 4096 * 4 * m.num_hidden_layers * m.num_key_value_heads * m.head_dim;
    EXPECT_GT(m.memory_bytes(), m.size_bytes + cache) << m.id;
    EXPECT_LT(m.memory_bytes(), m.size_bytes + cache + 700'000'000) << m.id << ": the rest is scratch";
    EXPECT_GT(static_cast<double>(m.size_bytes), 0.5 * m.parameters) << m.id << ": over four bits a weight";
  }
}

}  // namespace
}  // namespace fathom
