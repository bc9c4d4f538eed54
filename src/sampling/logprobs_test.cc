#include "sampling/logprobs.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "base/error.h"
#include "kernels/ref/elementary.h"
#include "tests/testing.h"

namespace fathom {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();

// spec/numerics.md 2, written out: sixteen partial sums, then +8, +4, +2, +1.
float by_the_page(const std::vector<float>& l) {
  const float m = *std::max_element(l.begin(), l.end());
  float s[16] = {};
  for (size_t i = 0; i < l.size(); ++i) s[i & 15] += ref::exp(l[i] - m);
  for (int j = 0; j < 8; ++j) s[j] += s[j + 8];
  for (int j = 0; j < 4; ++j) s[j] += s[j + 4];
  s[0] += s[2], s[1] += s[3];
  s[0] += s[1];
  return m + ref::log(s[0]);
}

TEST(Logprobs, FollowThePageBitForBit) {
  for (size_t V : {1, 2, 15, 16, 17, 33, 1000, 4097}) {
    const std::vector<float> logits = testing::random_floats(V, V);
    const float lse = by_the_page(logits);
    EXPECT_EQ(log_sum_exp(logits), lse);
    for (size_t id = 0; id < V; id += 1 + V / 7) {
      const auto token = static_cast<TokenId>(id);
      EXPECT_EQ(log_softmax_top(logits, token, 0).chosen.logprob, logits[id] - lse);
      EXPECT_EQ(log_softmax_at(logits, token), logits[id] - lse);
      std::vector<float> warm = logits;
      for (float& l : warm) l /= 0.6f;
      EXPECT_EQ(log_softmax_at(logits, token, 0.6f), warm[id] - by_the_page(warm));
    }
  }
}

TEST(Logprobs, AreLogarithmsOfProbabilitiesThatSumToOne) {
  const std::vector<float> logits = testing::random_floats(5000, 3);
  double total = 0, exact = 0;
  for (float l : logits) exact += std::exp(static_cast<double>(l));
  for (const TokenLogprob& t : log_softmax_top(logits, 0, 5000).top) {
    total += std::exp(static_cast<double>(t.logprob));
    EXPECT_NEAR(t.logprob, logits[static_cast<size_t>(t.id)] - std::log(exact), 2e-6);
  }
  EXPECT_NEAR(total, 1, 1e-5);
}

TEST(Logprobs, TopIsTheStartOfTheSortedRow) {
  for (uint64_t seed = 0; seed < 50; ++seed) {
    std::vector<float> logits = testing::random_floats(300, seed);
    for (float& l : logits) l = std::round(l * 4);  // many ties
    for (size_t id = 0; id < 300; id += 5) logits[id] = -kInf;
    std::vector<TokenId> order;
    for (TokenId id = 0; id < 300; ++id)
      if (id % 5 != 0) order.push_back(id);
    std::stable_sort(order.begin(), order.end(), [&](TokenId a, TokenId b) {
      return logits[static_cast<size_t>(a)] > logits[static_cast<size_t>(b)];
    });
    for (size_t n : {0, 1, 5, 20, 31, 32, 33, 240, 300, 1000}) {
      const TopLogprobs got = log_softmax_top(logits, 7, n);
      EXPECT_EQ(got.chosen.id, 7);
      ASSERT_EQ(got.top.size(), std::min(n, order.size()));
      for (size_t i = 0; i < got.top.size(); ++i) ASSERT_EQ(got.top[i].id, order[i]) << "n " << n << " i " << i;
    }
  }
}

TEST(Logprobs, ImpossibleTokensAndExtremes) {
  EXPECT_EQ(log_softmax_top(std::vector<float>{0, -kInf}, 1, 2).chosen.logprob, -kInf);
  EXPECT_EQ(log_softmax_top(std::vector<float>{0, -kInf}, 0, 2).chosen.logprob, 0);
  EXPECT_EQ(log_softmax_top(std::vector<float>{3e38f, -3e38f}, 0, 2).chosen.logprob, 0);
}

TEST(Logprobs, OutsideNumbersAreRefused) {
  const std::vector<float> fine = {1, 2};
  EXPECT_THROW(log_softmax_top(std::vector<float>{1, std::nanf("")}, 0, 1), Error);
  EXPECT_THROW(log_softmax_top(std::vector<float>{1, kInf}, 0, 1), Error);
  EXPECT_THROW(log_softmax_top(std::vector<float>{-kInf, -kInf}, 0, 1), Error);
  EXPECT_THROW(log_softmax_top(fine, 2, 1), Error);
  EXPECT_THROW(log_softmax_top(fine, -1, 1), Error);
  EXPECT_THROW(log_softmax_at(fine, 0, 0), Error);
  EXPECT_THROW(log_softmax_at(fine, 0, -1), Error);
}

}  // namespace
}  // namespace fathom
