// Balance of experts against the worked example of spec/training.md 10.2, golden counts, and finite differences.
#include "train/balance.h"

#include "base/error.h"
#include "train/train_testing.h"

namespace fathom {
namespace {

const std::vector<float> kScores{0.9F, 0.8F, 0.1F, 0.2F, 0.7F, 0.6F, 0.5F, 0.1F,
                                 0.3F, 0.9F, 0.2F, 0.6F, 0.8F, 0.4F, 0.1F, 0.7F};

TEST(Balance, WorkedExample) {
  const SequenceBalance got = sequence_balance(kScores, 4, 2);
  EXPECT_EQ((std::vector<double>{1.5, 1.5, 0, 1}), got.f);
  const double want_p[] = {0.342105, 0.341447, 0.115789, 0.200658};
  for (size_t e = 0; e < 4; ++e) EXPECT_NEAR(want_p[e], got.p[e], 6e-7);
  EXPECT_NEAR(1.225987, got.loss, 6e-7);
  std::vector<float> bias{0.5F, 0, 0, -0.25F};
  update_router_bias(bias, std::vector<int64_t>{3, 3, 0, 2}, 0.125F);
  EXPECT_EQ((std::vector<float>{0.375F, -0.125F, 0.125F, -0.25F}), bias);
  EXPECT_DOUBLE_EQ(1.5, expert_load(std::vector<int64_t>{3, 3, 0, 2}));
}

TEST(Balance, MeansThatAreNoWholeNumbers) {
  std::vector<float> bias(3);
  update_router_bias(bias, std::vector<int64_t>{1, 1, 2}, 1);  // mean 4/3
  EXPECT_EQ((std::vector<float>{1, 1, -1}), bias);
  update_router_bias(bias, std::vector<int64_t>{0, 0, 0}, 1);
  EXPECT_EQ((std::vector<float>{1, 1, -1}), bias);
  EXPECT_EQ(1, expert_load(std::vector<int64_t>{0, 0}));
  EXPECT_EQ(1, expert_load(std::vector<int64_t>{5, 5, 5}));
}

TEST(Balance, TiesGoToTheLowerId) {
  EXPECT_EQ((std::vector<double>{1.5, 1.5, 0}), sequence_balance(std::vector<float>{1, 1, 1}, 3, 2).f);
}

TEST(Balance, DerivativesGoThroughTheSharesAlone) {
  std::vector<float> scores = testing::random_floats(5 * 6, 11);
  for (float& s : scores) s = (std::floor(std::min(std::abs(s), 3.0F) * 64) + 64) / 64;
  const SequenceBalance at = sequence_balance(scores, 6, 2);
  const auto loss = [&] {  // f as it was
    const std::vector<double> p = sequence_balance(scores, 6, 2).p;
    double sum = 0;
    for (size_t e = 0; e < p.size(); ++e) sum += at.f[e] * p[e];
    return sum;
  };
  for (size_t i = 0; i < scores.size(); ++i)
    EXPECT_NEAR(testing::five_point(scores[i], loss), at.derivatives[i], 1e-7) << i;
}

TEST(Balance, GoldenBias) {
  // Three updates by counts of which the first is stored: after it each bias has moved by 0.001 or not at all, so that
  // after three it lies within two steps of that.
  size_t compared = 0;
  for (const std::filesystem::path& folder : testing::golden_train_folders()) {
    const SafetensorsFile golden(folder / "golden.safetensors"), model(folder / "model.safetensors");
    for (const StoredRange& range : golden.ranges()) {
      const std::string prefix = "expert_counts.", name = range.info.name;
      if (!name.starts_with(prefix)) continue;
      const std::string bias_name = name.substr(prefix.size()) + ".e_score_correction_bias";
      std::vector<float> bias = testing::floats_of(model, bias_name);
      update_router_bias(bias, golden.tensor(name).span<int64_t>(), 0.001F);
      const std::vector<float> after = testing::floats_of(golden, "adamw.after." + bias_name);
      for (size_t e = 0; e < bias.size(); ++e) EXPECT_LE(std::abs(after[e] - bias[e]), 0.00201F) << name << " " << e;
      ++compared;
    }
  }
  if (!compared) GTEST_SKIP() << "needs golden/train";
}

}  // namespace
}  // namespace fathom
