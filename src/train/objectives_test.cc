// Supervised, preference and distillation losses against formulas by hand and finite differences.
#include "train/objectives.h"

#include <cmath>

#include "base/error.h"
#include "train/train_testing.h"

namespace fathom {
namespace {

TEST(CrossEntropy, MeanOverTheTokensOfTheWholeUpdate) {
  const std::vector<float> logprobs{-1, -2, -4, -0.5F};
  const std::vector<uint8_t> counted{1, 0, 1, 1};
  double loss = 0;
  EXPECT_EQ((std::vector<float>{-0.125F, 0, -0.125F, -0.125F}), cross_entropy(logprobs, counted, 8, loss));
  EXPECT_DOUBLE_EQ(5.5 / 8, loss);
  // The rest of the update in a second call: the sum goes on.
  cross_entropy(std::vector<float>{-8, -3}, std::vector<uint8_t>{1, 1}, 8, loss);
  EXPECT_DOUBLE_EQ(16.5 / 8, loss);
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

TEST(Distillation, ValuesByHand) {
  const std::vector<float> teacher{0.5F, 0.25F};  // the rest: 0.25
  const std::vector<float> student{std::log(0.25F), std::log(0.25F), std::log(0.5F)};
  const std::vector<uint8_t> counted{1};
  double forward = 0, reverse = 0;
  const std::vector<float> df = distillation_loss(teacher, student, 2, counted, 4, Divergence::kForward, forward);
  EXPECT_NEAR((0.5 * std::log(2) + 0 - 0.25 * std::log(2)) / 4, forward, 1e-7);
  EXPECT_EQ((std::vector<float>{-0.125F, -0.0625F, -0.0625F}), df);
  const std::vector<float> dr = distillation_loss(teacher, student, 2, counted, 4, Divergence::kReverse, reverse);
  EXPECT_NEAR((-0.25 * std::log(2) + 0 + 0.5 * std::log(2)) / 4, reverse, 1e-7);
  EXPECT_NEAR(0.25 * (1 - std::log(2)) / 4, dr[0], 1e-7);
  EXPECT_NEAR(0.25 / 4, dr[1], 1e-7);
  EXPECT_NEAR(0.5 * (1 + std::log(2)) / 4, dr[2], 1e-7);
}

TEST(Distillation, EqualDistributionsHaveNoDivergence) {
  const std::vector<float> teacher{0.5F, 0.25F, 0.125F, 0.25F, 0.25F, 0.25F};
  std::vector<float> student;
  for (const float p : {0.5F, 0.25F, 0.125F, 0.125F, 0.25F, 0.25F, 0.25F, 0.25F}) student.push_back(std::log(p));
  for (const Divergence divergence : {Divergence::kForward, Divergence::kReverse}) {
    double loss = 0;
    distillation_loss(teacher, student, 3, std::vector<uint8_t>{1, 1}, 2, divergence, loss);
    EXPECT_NEAR(0, loss, 1e-7);
  }
}

TEST(Distillation, DerivativesAreThoseOfTheLoss) {
  constexpr size_t kTop = 3, kTokens = 4;
  std::vector<float> teacher;
  for (size_t t = 0; t < kTokens; ++t)
    for (const float p : {0.5F, 0.2F, 0.1F}) teacher.push_back(p / static_cast<float>(t + 1));
  teacher.back() = 0;
  std::vector<float> student = sixty_fourths(kTokens * (kTop + 1), 5);
  const std::vector<uint8_t> counted{1, 1, 0, 1};
  for (const Divergence divergence : {Divergence::kForward, Divergence::kReverse}) {
    const auto loss = [&] {
      double sum = 0;
      distillation_loss(teacher, student, kTop, counted, 5, divergence, sum);
      return sum;
    };
    double sum = 0;
    const std::vector<float> got = distillation_loss(teacher, student, kTop, counted, 5, divergence, sum);
    for (size_t i = 0; i < student.size(); ++i) EXPECT_NEAR(testing::five_point(student[i], loss), got[i], 1e-6) << i;
  }
}

TEST(Distillation, TeachersOfNoProbabilityAreRefused) {
  const std::vector<float> student{-1, -1, -1};
  const std::vector<uint8_t> counted{1};
  for (const std::vector<float>& teacher : {std::vector<float>{0.8F, 0.3F}, {-0.1F, 0.2F}, {1.5F, 0}, {NAN, 0}}) {
    double loss = 0;
    EXPECT_THROW(distillation_loss(teacher, student, 2, counted, 1, Divergence::kForward, loss), Error);
  }
  double loss = 0;  // all of the probability among the k: the rest is small, and the reverse form stays finite
  distillation_loss(std::vector<float>{0.75F, 0.25F}, student, 2, counted, 1, Divergence::kReverse, loss);
  EXPECT_TRUE(std::isfinite(loss));
}

}  // namespace
}  // namespace fathom
