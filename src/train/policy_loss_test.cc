// Policy losses against the tables of spec/training.md 10, golden values of torch, and finite differences.
#include "train/policy_loss.h"

#include <cmath>
#include <numeric>

#include "base/error.h"
#include "train/train_testing.h"

namespace fathom {
namespace {

/// spec/training.md 10.1: four completions of one prompt.
const std::vector<float> kNow{-1.0F, -0.5F, -2.0F, -0.7F, -1.3F, -0.2F, -0.9F, -1.1F, -3.0F, -0.4F};
const std::vector<float> kOld{-1.1F, -0.9F, -2.0F, -0.6F, -1.0F, -0.2F, -1.3F, -1.1F, -2.4F, -0.4F};
const std::vector<float> kRef{-1.0F, -0.6F, -2.2F, -0.7F, -1.2F, -0.3F, -0.9F, -1.0F, -2.8F, -0.5F};
const std::vector<size_t> kLengths{3, 2, 4, 1};
const std::vector<double> kRewards{1, 0.1, 0, 0.1};

struct Result {
  std::vector<float> derivatives;
  PolicySums sums;
};

Result run(const PolicyObjective& objective, const std::vector<float>& advantages,
           const std::vector<uint8_t>& kept = {}) {
  Result result;
  const PolicyBatch batch{kNow, kOld, kRef, kLengths, advantages, kept};
  result.derivatives = policy_loss(batch, objective, count_policy(kLengths, kept), result.sums);
  return result;
}

void expect_near(const std::vector<double>& want, const std::vector<float>& got, double tolerance) {
  ASSERT_EQ(want.size(), got.size());
  for (size_t i = 0; i < want.size(); ++i) EXPECT_NEAR(want[i], got[i], tolerance) << "value " << i;
}

TEST(Advantages, TableOfTheSpecification) {
  expect_near({1.723281, -0.492366, -0.738549, -0.492366}, group_advantages(kRewards, Deviation::kPopulation), 6e-7);
  expect_near({1.492405, -0.426401, -0.639602, -0.426401}, group_advantages(kRewards, Deviation::kSample), 6e-7);
  expect_near({0.7, -0.2, -0.3, -0.2}, group_advantages(kRewards, Deviation::kNone), 6e-8);
}

TEST(Advantages, AddUpToZeroAndDoNotSeeAShiftOrAScale) {
  const std::vector<double> rewards{0.5, -1, 3, 0.25, 0.25, 2}, moved{5, -1, 15, 4, 4, 11};  // 4 r + 3
  for (const Deviation deviation : {Deviation::kSample, Deviation::kPopulation}) {
    const std::vector<float> a = group_advantages(rewards, deviation);
    EXPECT_NEAR(0, std::accumulate(a.begin(), a.end(), 0.0), 1e-6);
    expect_near({a.begin(), a.end()}, group_advantages(moved, deviation), 2e-7);
  }
}

TEST(Advantages, GroupsWithoutVarianceHaveNone) {
  for (const Deviation deviation : {Deviation::kSample, Deviation::kPopulation, Deviation::kNone})
    for (const std::vector<double>& rewards : {std::vector<double>{0.1, 0.1, 0.1}, {0.7}, {}}) {
      EXPECT_TRUE(all_equal(rewards));
      EXPECT_EQ(std::vector<float>(rewards.size()), group_advantages(rewards, deviation));
    }
  EXPECT_FALSE(all_equal(kRewards));
}

TEST(OverlongPenalty, TableOfTheSpecification) {
  const auto penalty = [](size_t length) { return overlong_penalty(length, 16384, 4096); };
  EXPECT_EQ(0, penalty(16384));
  EXPECT_EQ(-0.25, penalty(17408));
  EXPECT_EQ(-0.5, penalty(18432));
  EXPECT_EQ(-1, penalty(20480));
  EXPECT_EQ(-1, penalty(20481));
  EXPECT_EQ(0, overlong_penalty(8, 8, 0));
  EXPECT_EQ(-1, overlong_penalty(9, 8, 0));
}

TEST(PolicyLoss, TableOfTheSpecification) {
  struct Row {
    const char* name;
    PolicyObjective objective;
    double loss;
    std::vector<double> derivatives;
  };
  const Row rows[] = {
      {"grpo, beta 0.04",
       policy_objective("grpo"),
       -0.04828886,
       {-0.158710, 0.000317, -0.143003, 0.055689, -0.000526, 0.046397, 0.068862, 0.045896, -0.000554, 0.124043}},
      {"grpo, beta 0",
       {.beta = 0},
       -0.04852018,
       {-0.158710, 0, -0.143607, 0.055689, 0, 0.046159, 0.068862, 0.046159, 0, 0.123091}},
      {"eps 10, beta 0.001",
       {.eps_low = 10, .eps_high = 10, .beta = 0.001},
       -0.10565945,
       {-0.158710, -0.214228, -0.143592, 0.055689, 0.045581, 0.046165, 0.068862, 0.046153, 0.025319, 0.123115}},
      {"V3.2's KL",
       {.beta = 0.04, .unbiased_kl = true},
       -0.04831177,
       {-0.158710, 0.000497, -0.142940, 0.055689, -0.000370, 0.046409, 0.068862, 0.045909, -0.000274, 0.124091}},
      {"DAPO",
       policy_objective("dapo"),
       -0.13321078,
       {-0.190452, 0, -0.172328, 0.044551, 0, 0.073855, 0.110179, 0.073855, 0, 0.049237}},
      {"BNPO, which is DAPO with the lower clip and one call",
       {.eps_high = 0.28, .mean = LossMean::kLocalTokens},
       -0.13321078,
       {-0.190452, 0, -0.172328, 0.044551, 0, 0.073855, 0.110179, 0.073855, 0, 0.049237}}};
  for (const Row& row : rows) {
    SCOPED_TRACE(row.name);
    const Result got = run(row.objective, group_advantages(kRewards, Deviation::kPopulation));
    EXPECT_NEAR(row.loss, got.sums.loss, 3e-8);
    expect_near(row.derivatives, got.derivatives, 6e-7);
  }
  PolicyObjective dr_grpo = policy_objective("dr_grpo");
  dr_grpo.max_length = 8;
  const Result got = run(dr_grpo, group_advantages(kRewards, dr_grpo.deviation));
  EXPECT_NEAR(-0.01515952, got.sums.loss, 3e-8);
  expect_near({-0.024176, 0, -0.021875, 0.005655, 0, 0.009375, 0.013986, 0.009375, 0, 0.006250}, got.derivatives, 6e-7);
}

TEST(PolicyLoss, OffPolicySequencesLoseTheirPolicyTermAlone) {
  PolicyObjective objective = policy_objective("grpo");
  const std::vector<float> advantages = group_advantages(kRewards, Deviation::kPopulation);
  const Result all = run(objective, advantages);
  objective.off_policy_delta = 0.1;  // means of log(old / new): -0.166667, 0.2, 0.05, 0
  const Result got = run(objective, advantages);
  EXPECT_EQ(1u, got.sums.off_policy);
  for (size_t t = 0; t < kNow.size(); ++t) {
    const double kl_alone = 0.04 * (1 - std::exp(static_cast<double>(kRef[t]) - kNow[t])) / (4 * 2);
    EXPECT_FLOAT_EQ(t == 3 || t == 4 ? static_cast<float>(kl_alone) : all.derivatives[t], got.derivatives[t]) << t;
  }
  // Its policy terms were -0.492366 * (0.904837 + 0.8) / (4 * 2).
  EXPECT_NEAR(all.sums.loss - 0.492366 * 1.704837 / 8, got.sums.loss, 1e-6);
  objective.off_policy_delta = 0.21;
  EXPECT_EQ(0u, run(objective, advantages).sums.off_policy);
}

TEST(PolicyLoss, SequencesLeftOutHaveNoLossButCountAsSequences) {
  const std::vector<float> advantages = group_advantages(kRewards, Deviation::kPopulation);
  const std::vector<uint8_t> kept{1, 1, 0, 1};
  for (const char* name : {"grpo", "dapo"}) {
    const PolicyObjective objective = policy_objective(name);
    const Result all = run(objective, advantages), got = run(objective, advantages, kept);
    const double grown = objective.mean == LossMean::kTokens ? 10.0 / 6 : 1;  // of 10 tokens 4 are left out
    for (size_t t = 0; t < kNow.size(); ++t)
      EXPECT_FLOAT_EQ(t >= 5 && t < 9 ? 0 : static_cast<float>(all.derivatives[t] * grown), got.derivatives[t]);
    EXPECT_EQ(1u, got.sums.left_out);
    EXPECT_EQ(6u, got.sums.tokens);
  }
}

TEST(PolicyLoss, Statistics) {
  const PolicySums sums = run(policy_objective("grpo"), group_advantages(kRewards, Deviation::kPopulation)).sums;
  EXPECT_EQ(4u, sums.sequences);
  EXPECT_DOUBLE_EQ(0.1, sums.clip_fraction_high());  // 1.491825 of the first sequence
  EXPECT_DOUBLE_EQ(0.2, sums.clip_fraction_low());   // 0.740818 and 0.548812
  EXPECT_NEAR(1.491825, sums.ratio_max, 1e-6);
  EXPECT_NEAR((1.105171 + 1.491825 + 1 + 0.904837 + 0.740818 + 1 + 1.491825 + 1 + 0.548812 + 1) / 10, sums.mean_ratio(),
              1e-6);
  EXPECT_NEAR((0.004837 * 3 + 0.018731 + 0.005171 * 2 + 0.021403) / 10, sums.mean_kl(), 1e-6);
  EXPECT_NEAR(11.1 / 10, sums.entropy(), 1e-6);
}

TEST(PolicyLoss, FirstUpdateHasRatioOneExactly) {
  PolicySums sums;
  const std::vector<float> advantages{1, -1, 1, -1};
  policy_loss({kNow, kNow, kNow, kLengths, advantages, {}}, policy_objective("grpo"), {4, 10}, sums);
  EXPECT_EQ(1, sums.mean_ratio());
  EXPECT_EQ(1, sums.ratio_max);
  EXPECT_EQ(0, sums.mean_kl());
  EXPECT_EQ(0u, sums.clipped_high + sums.clipped_low);
}

TEST(PolicyLoss, CutIntoMicroBatchesKeepsEveryBit) {
  const std::vector<float> advantages = group_advantages(kRewards, Deviation::kSample);
  for (const char* name : {"grpo", "dapo"}) {
    const PolicyObjective objective = policy_objective(name);
    const Result whole = run(objective, advantages);
    PolicySums sums;
    std::vector<float> derivatives;
    size_t first = 0;
    for (size_t i = 0; i < kLengths.size(); first += kLengths[i++]) {
      const auto part = [&](const std::vector<float>& v) { return std::span(v).subspan(first, kLengths[i]); };
      const std::vector<float> got = policy_loss({part(kNow),
                                                  part(kOld),
                                                  part(kRef),
                                                  std::span(kLengths).subspan(i, 1),
                                                  std::span(advantages).subspan(i, 1),
                                                  {}},
                                                 objective, count_policy(kLengths, {}), sums);
      derivatives.insert(derivatives.end(), got.begin(), got.end());
    }
    EXPECT_EQ(whole.derivatives, derivatives);
    EXPECT_EQ(whole.sums.loss, sums.loss);
    EXPECT_EQ(whole.sums.ratio, sums.ratio);
  }
}

TEST(PolicyLoss, DerivativesAreThoseOfTheLoss) {
  // Multiples of 1/64, no ratio nearer than two steps to a bound of the clip.
  std::vector<float> now{-64, -32, -128, -45, -83, -13, -58}, old{-70, -64, -128, -38, -51, -16, -58};
  std::vector<float> ref{-60, -40, -140, -45, -76, -20, -52};
  for (std::vector<float>* v : {&now, &old, &ref})
    for (float& x : *v) x /= 64;
  const std::vector<size_t> lengths{3, 2, 2};
  const std::vector<float> advantages{1.5F, -0.75F, 0.5F};
  for (const bool unbiased : {false, true})
    for (const LossMean mean : {LossMean::kSequences, LossMean::kTokens, LossMean::kConstantLength}) {
      const PolicyObjective objective{.beta = 0.5, .unbiased_kl = unbiased, .mean = mean, .max_length = 9};
      const auto loss = [&] {
        PolicySums sums;
        policy_loss({now, old, ref, lengths, advantages, {}}, objective, count_policy(lengths, {}), sums);
        return sums.loss;
      };
      PolicySums sums;
      const std::vector<float> got =
          policy_loss({now, old, ref, lengths, advantages, {}}, objective, count_policy(lengths, {}), sums);
      for (size_t t = 0; t < now.size(); ++t) EXPECT_NEAR(testing::five_point(now[t], loss), got[t], 2e-7) << t;
    }
}

TEST(PolicyLoss, PublishedSettingsByName) {
  const PolicyObjective grpo = policy_objective("grpo"), dapo = policy_objective("dapo");
  EXPECT_EQ(0.2, grpo.eps_high);
  EXPECT_EQ(0.04, grpo.beta);
  EXPECT_EQ(0.2, dapo.eps_low);
  EXPECT_EQ(0.28, dapo.eps_high);
  EXPECT_EQ(0, dapo.beta);
  EXPECT_EQ(Deviation::kNone, policy_objective("dr_grpo").deviation);
  EXPECT_EQ(LossMean::kLocalTokens, policy_objective("bnpo").mean);
  EXPECT_THROW(policy_objective("ppo"), Error);
}

/// Rows of a padded [G, T] tensor, one after the other.
std::vector<float> unpadded(const std::vector<float>& rows, const std::vector<size_t>& lengths) {
  std::vector<float> out;
  const size_t width = rows.size() / lengths.size();
  for (size_t i = 0; i < lengths.size(); ++i) {
    const auto row = rows.begin() + static_cast<std::ptrdiff_t>(i * width);
    out.insert(out.end(), row, row + static_cast<std::ptrdiff_t>(lengths[i]));
  }
  return out;
}

TEST(PolicyLoss, GoldenVariants) {
  size_t compared = 0;
  for (const std::filesystem::path& folder : testing::golden_train_folders()) {
    const SafetensorsFile golden(folder / "golden.safetensors");
    if (!golden.has("grpo.logprobs")) continue;
    SCOPED_TRACE(folder.string());
    std::vector<size_t> lengths;
    for (const int64_t n : golden.tensor("grpo.completion_lengths").span<int64_t>())
      lengths.push_back(static_cast<size_t>(n));
    const auto tokens = [&](const std::string& name) {
      return unpadded(testing::floats_of(golden, "grpo." + name), lengths);
    };
    const std::vector<float> now = tokens("logprobs"), old = tokens("old_logprobs"), ref = tokens("ref_logprobs");
    const std::vector<float> stored = testing::floats_of(golden, "grpo.rewards");
    const std::vector<double> rewards(stored.begin(), stored.end());
    // The stored advantages have f32's errors, which a loss of cancelling terms would show.
    const std::vector<float> by_sample = testing::floats_of(golden, "grpo.advantages");
    expect_near({by_sample.begin(), by_sample.end()}, group_advantages(rewards, Deviation::kSample), 2e-7);
    PolicyObjective dr_grpo = policy_objective("dr_grpo"), v32 = policy_objective("grpo");
    dr_grpo.max_length = 32;
    v32.unbiased_kl = true;
    const std::pair<const char*, PolicyObjective> variants[] = {
        {"grpo", policy_objective("grpo")},
        {"grpo_r1", {.eps_low = 10, .eps_high = 10, .beta = 0.001}},
        {"dapo", policy_objective("dapo")},
        {"dr_grpo", dr_grpo},
        {"v32", v32}};
    for (const auto& [name, objective] : variants) {
      SCOPED_TRACE(name);
      PolicySums sums;
      const std::vector<float> advantages =
          objective.deviation == Deviation::kSample ? by_sample : group_advantages(rewards, objective.deviation);
      const std::vector<float> got =
          policy_loss({now, old, ref, lengths, advantages, {}}, objective, count_policy(lengths, {}), sums);
      const std::vector<float> want = tokens(std::string(name) + ".dlogprobs");
      const float loss = testing::floats_of(golden, cat("grpo.", name, ".loss"))[0];
      EXPECT_NEAR(loss, sums.loss, 1e-5 * std::abs(loss));
      double largest = 0;
      for (const float v : want) largest = std::max(largest, std::abs(static_cast<double>(v)));
      for (size_t t = 0; t < want.size(); ++t) EXPECT_NEAR(want[t], got[t], 1e-5 * largest) << t;
      ++compared;
    }
  }
  if (!compared) GTEST_SKIP() << "needs golden/train";
  EXPECT_EQ(0u, compared % 5);
}

}  // namespace
}  // namespace fathom
