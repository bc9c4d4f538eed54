// Supervised and preference losses against formulas by hand and finite differences.
#include "train/objectives.h"

#include <cmath>

#include "base/error.h"
#include "train/train_testing.h"

namespace fathom {
namespace {

TEST(CrossEntropy, MeanOverTheTokensOfTheWholeUpdate) {
  const std::vector<float> logprobs{-1, -2, -4, -0.5F};
  const std::vector<int32_t> targets{7, -1, 0, 1};
  double loss = 0;
  add_cross_entropy(logprobs, targets, 8, loss);
  EXPECT_DOUBLE_EQ(5.5 / 8, loss);
  EXPECT_EQ((std::vector<float>{-0.125F, 0, -0.125F, -0.125F}), cross_entropy_derivatives(targets, 8));
  // The rest of the update in a second call: the sum goes on.
  add_cross_entropy(std::vector<float>{-8, -3}, std::vector<int32_t>{1, 1}, 8, loss);
  EXPECT_DOUBLE_EQ(16.5 / 8, loss);
  EXPECT_EQ(cross_entropy_derivatives(std::vector<int32_t>{1, 1}, 8, /*weight=*/2),
            (std::vector<float>{-0.25F, -0.25F}));
  add_cross_entropy(std::vector<float>{-1}, std::vector<int32_t>{-1}, 0, loss);
  EXPECT_DOUBLE_EQ(16.5 / 8, loss);
  EXPECT_EQ(cross_entropy_derivatives(std::vector<int32_t>{-1}, 0), std::vector<float>{0});
}

/// Multiples of 1/64 from -3 to 0.
std::vector<float> sixty_fourths(size_t n, uint64_t seed) {
  std::vector<float> out = testing::random_floats(n, seed);
  for (float& x : out) x = -std::floor(std::min(std::abs(x), 3.0F) * 64) / 64;
  return out;
}

TEST(Dpo, ValueByHand) {
  // z = 0.5 ((-3 + 2) - (-4 + 6)) = -1.5
  const std::vector<float> chosen{-1, -2}, ref_chosen{-0.5F, -1.5F}, rejected{-4}, ref_rejected{-6};
  PreferenceSums sums;
  const PreferenceDerivatives d = dpo_loss({chosen, rejected, ref_chosen, ref_rejected}, 0.5, 2, sums);
  EXPECT_DOUBLE_EQ(-std::log(1 / (1 + std::exp(1.5))) / 2, sums.loss);
  EXPECT_FLOAT_EQ(static_cast<float>(-0.5 / 2 / (1 + std::exp(-1.5))), d.chosen);
  EXPECT_EQ(-d.chosen, d.rejected);
  EXPECT_DOUBLE_EQ(-0.5, sums.chosen_reward);
  EXPECT_DOUBLE_EQ(1, sums.rejected_reward);
  EXPECT_EQ(0u, sums.preferred);
  dpo_loss({rejected, chosen, ref_rejected, ref_chosen}, 0.5, 2, sums);
  EXPECT_EQ(1u, sums.preferred);
  EXPECT_EQ(2u, sums.pairs);
}

TEST(Dpo, DerivativesAreThoseOfTheLoss) {
  for (const double beta : {0.1, 1.0, 4.0}) {
    std::vector<float> chosen = sixty_fourths(5, 1), rejected = sixty_fourths(3, 2);
    const std::vector<float> ref_chosen = sixty_fourths(5, 3), ref_rejected = sixty_fourths(3, 4);
    const auto loss = [&] {
      PreferenceSums sums;
      dpo_loss({chosen, rejected, ref_chosen, ref_rejected}, beta, 3, sums);
      return sums.loss;
    };
    PreferenceSums sums;
    const PreferenceDerivatives d = dpo_loss({chosen, rejected, ref_chosen, ref_rejected}, beta, 3, sums);
    for (float& x : chosen) EXPECT_NEAR(testing::five_point(x, loss), d.chosen, 1e-6 * beta);
    for (float& x : rejected) EXPECT_NEAR(testing::five_point(x, loss), d.rejected, 1e-6 * beta);
  }
}

TEST(Dpo, FarMarginsStayFinite) {
  const std::vector<float> far{-2000}, zero{0};
  PreferenceSums lost, won;
  EXPECT_FLOAT_EQ(-1, dpo_loss({far, zero, zero, zero}, 1, 1, lost).chosen);
  EXPECT_DOUBLE_EQ(2000, lost.loss);
  EXPECT_EQ(0, dpo_loss({zero, far, zero, zero}, 1, 1, won).chosen);
  EXPECT_EQ(0, won.loss);
}

}  // namespace
}  // namespace fathom
