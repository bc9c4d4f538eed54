// The router against the worked example of spec/models.md 5 and against a brute-force reading of its rules.
#include "kernels/cpu/route.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "tests/testing.h"

namespace fathom {
namespace {

struct Chosen {
  std::vector<int32_t> ids;
  std::vector<float> gates;
};
Chosen run(const RouterConfig& config, const std::vector<float>& logits, const std::vector<float>& bias) {
  Chosen out{std::vector<int32_t>(config.top_k), std::vector<float>(config.top_k)};
  std::vector<float> scratch(route_scratch(config));
  route_token(Math<float>{ref_kernels()}, config, logits.data(), bias.empty() ? nullptr : bias.data(), out.ids.data(),
              out.gates.data(), scratch.data());
  return out;
}

const std::vector<float> kLogits = {0.3f, -1.2f, 2.0f, 0.5f, -0.4f, 1.1f, 0.9f, -2.0f};
const std::vector<float> kBias = {0, 0.2f, -0.3f, 0.1f, 0.05f, -0.05f, 0, 0.4f};

TEST(Route, WorkedExampleOfV3) {
  RouterConfig c{.n_experts = 8,
                 .top_k = 3,
                 .n_group = 4,
                 .topk_group = 2,
                 .sigmoid = true,
                 .group_by_two_best = true,
                 .normalize = true,
                 .scale = 2.5f};
  const Chosen got = run(c, kLogits, kBias);
  EXPECT_EQ(got.ids, (std::vector<int32_t>{2, 3, 6}));
  EXPECT_NEAR(got.gates[0], 0.994484, 1e-6);
  EXPECT_NEAR(got.gates[1], 0.702802, 1e-6);
  EXPECT_NEAR(got.gates[2], 0.802714, 1e-6);
  c.n_group = c.topk_group = 1;
  EXPECT_EQ(run(c, kLogits, kBias).ids, (std::vector<int32_t>{3, 5, 6}));
}

/// The weights of experts chosen elsewhere: of the router's own they are the same bits, of others by the formula.
TEST(Route, GatesOfChosenExperts) {
  for (const bool sigmoid : {false, true})
    for (const bool normalize : {false, true})
      for (const bool scale_when_normalized : {false, true}) {
        const RouterConfig c{.n_experts = 8,
                             .top_k = 3,
                             .sigmoid = sigmoid,
                             .normalize = normalize,
                             .scale = 2.5f,
                             .scale_when_normalized = scale_when_normalized};
        std::vector<float> gates(3), scratch(route_scratch(c));
        const auto gate = [&](const std::vector<int32_t>& ids) {
          gate_chosen_token(Math<float>{ref_kernels()}, c, kLogits.data(), ids.data(), gates.data(), scratch.data());
        };
        const Chosen own = run(c, kLogits, kBias);
        gate(own.ids);
        EXPECT_EQ(gates, own.gates);
        const std::vector<int32_t> others = {0, 4, 7};
        gate(others);
        const auto score = [&](int32_t e) {
          const double x = std::exp(static_cast<double>(kLogits[static_cast<size_t>(e)]));
          double all = 0;
          for (const float l : kLogits) all += std::exp(static_cast<double>(l));
          return sigmoid ? x / (1 + x) : x / all;
        };
        const double sum = normalize ? score(0) + score(4) + score(7) : 1;
        const double scale = normalize && !scale_when_normalized ? 1 : 2.5;
        for (size_t i = 0; i < 3; ++i) EXPECT_NEAR(gates[i], scale * score(others[i]) / sum, 1e-6);
      }
}

TEST(Route, SoftmaxWithoutNormalisation) {
  const Chosen got = run({.n_experts = 8, .top_k = 2, .scale = 16}, kLogits, {});
  double sum = 0;
  for (const float l : kLogits) sum += std::exp(static_cast<double>(l));
  EXPECT_EQ(got.ids, (std::vector<int32_t>{2, 5}));
  EXPECT_NEAR(got.gates[0], 16 * std::exp(2.0) / sum, 1e-5);
  EXPECT_NEAR(got.gates[1], 16 * std::exp(1.1) / sum, 1e-5);
}

TEST(Route, TiesGoToTheLowerIdAndNegativeChoicesCanBeTaken) {
  const RouterConfig c{
      .n_experts = 6, .top_k = 4, .n_group = 3, .topk_group = 2, .sigmoid = true, .group_by_two_best = true};
  EXPECT_EQ(run(c, std::vector<float>(6, 0.0f), {}).ids, (std::vector<int32_t>{0, 1, 2, 3}));
  EXPECT_EQ(run(c, std::vector<float>(6, 0.0f), {-9, -9, -1, -2, -3, -4}).ids, (std::vector<int32_t>{2, 3, 4, 5}));
}

TEST(Route, BrokenLogitsStillGiveDifferentExperts) {
  const std::vector<float> broken(8, std::nanf(""));
  for (const size_t groups : {size_t{1}, size_t{4}}) {
    const Chosen got = run({.n_experts = 8,
                            .top_k = 3,
                            .n_group = groups,
                            .topk_group = groups / 2 + groups % 2,
                            .sigmoid = true,
                            .group_by_two_best = true},
                           broken, {});
    EXPECT_EQ(std::set<int32_t>(got.ids.begin(), got.ids.end()).size(), 3u);
  }
}

/// The rules of the paper, read literally: sort groups, mask, sort experts.
std::vector<int32_t> brute_force(const RouterConfig& c, const std::vector<float>& score,
                                 const std::vector<float>& bias) {
  const size_t size = c.n_experts / c.n_group;
  std::vector<std::pair<float, int>> groups, experts;
  for (size_t g = 0; g < c.n_group; ++g) {
    std::vector<float> in;
    for (size_t i = 0; i < size; ++i) in.push_back(score[g * size + i] + bias[g * size + i]);
    std::sort(in.rbegin(), in.rend());
    groups.emplace_back(-(c.group_by_two_best ? in[0] + in[1] : in[0]), static_cast<int>(g));
  }
  std::sort(groups.begin(), groups.end());
  for (size_t g = 0; g < c.topk_group; ++g)
    for (size_t i = 0; i < size; ++i) {
      const size_t e = static_cast<size_t>(groups[g].second) * size + i;
      experts.emplace_back(-(score[e] + bias[e]), static_cast<int>(e));
    }
  std::sort(experts.begin(), experts.end());
  std::vector<int32_t> ids;
  for (size_t i = 0; i < c.top_k; ++i) ids.push_back(experts[i].second);
  std::sort(ids.begin(), ids.end());
  return ids;
}

TEST(Route, EqualsBruteForceOnRandomScores) {
  for (uint64_t seed = 0; seed < 200; ++seed) {
    const RouterConfig c{.n_experts = 32,
                         .top_k = 4,
                         .n_group = 8,
                         .topk_group = 3,
                         .sigmoid = true,
                         .group_by_two_best = seed % 2 == 0};
    const std::vector<float> logits = testing::random_floats(32, seed), bias = testing::random_floats(32, seed + 1000);
    std::vector<float> score(32);
    ref_kernels().sigmoid(score.data(), logits.data(), 32);
    EXPECT_EQ(run(c, logits, bias).ids, brute_force(c, score, bias)) << seed;
  }
}

}  // namespace
}  // namespace fathom
