#include "engine/quality.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tests/testing.h"

namespace fathom {
namespace {

Tensor rows(const std::vector<std::vector<float>>& values) {
  const Tensor t = make_tensor(DType::kF32, {values.size(), values[0].size()});
  for (size_t i = 0; i < values.size(); ++i)
    std::copy(values[i].begin(), values[i].end(), t.data<float>() + i * values[0].size());
  return t;
}

/// Logits of these probabilities, moved by something that must not matter.
std::vector<float> logits_of(std::vector<float> p, float moved) {
  for (float& x : p) x = std::log(x) + moved;
  return p;
}

TEST(Quality, OfKnownDistributions) {
  ThreadPool pool(2);
  QualitySums sums;
  const std::vector<float> p{0.5, 0.25, 0.25}, q{0.25, 0.5, 0.25}, last{0.1, 0.1, 0.8};
  sums.add(rows({logits_of(p, 1), logits_of(q, 50), last}), rows({logits_of(q, -40), logits_of(q, 2), last}),
           std::vector<TokenId>{0, 1, 0}, pool);
  const Quality one = sums.quality();
  EXPECT_EQ(one.windows, 1U);
  EXPECT_EQ(one.window, 3U);
  EXPECT_EQ(one.tokens, 2U);
  const double kl = 0.5 * std::log(2) - 0.25 * std::log(2);  // of the first row; the second's is 0
  EXPECT_NEAR(one.kl, kl / 2, 1e-6);
  EXPECT_NEAR(one.kl_max, kl, 1e-6);
  EXPECT_NEAR(one.kl_99, 0.99 * kl, 1e-6);
  EXPECT_NEAR(one.perplexity, std::sqrt(1 / (0.5 * 0.25)), 1e-5);  // of tokens 1 and 0
  EXPECT_NEAR(one.perplexity_exact, std::sqrt(1 / (0.25 * 0.25)), 1e-5);
  EXPECT_EQ(one.same_best, 0.5);

  sums.add(rows({logits_of(p, 0), logits_of(p, 0), p}), rows({logits_of(p, 0), logits_of(p, 0), q}),
           std::vector<TokenId>{2, 0, 0}, pool);
  EXPECT_EQ(sums.quality().windows, 2U);
  EXPECT_NEAR(sums.quality().kl, kl / 4, 1e-6);
  EXPECT_EQ(sums.quality().same_best, 0.75);
  EXPECT_EQ(QualitySums().quality().tokens, 0U);
}

TEST(Quality, WindowsOfAText) {
  const std::vector<TokenId> ids{1, 2, 3, 4, 5, 6, 7};
  EXPECT_EQ(text_windows(ids, 3, 8, "x"), (std::vector<std::vector<TokenId>>{{1, 2, 3}, {4, 5, 6}}));
  EXPECT_EQ(text_windows(ids, 3, 1, "x"), (std::vector<std::vector<TokenId>>{{1, 2, 3}}));
  EXPECT_THROW(text_windows(ids, 8, 1, "x"), Error);
}

TEST(Quality, OfAnEngineAgainstItselfAndAgainstExact) {
  const std::filesystem::path file = testing::golden_dir() / "gguf" / "qwen2-wide.Q4_0.gguf";
  const auto load = [&](Profile profile, CacheType cache) {
    return Engine::load(file, {.profile = profile, .cache_type = cache, .threads = 2, .ctx = 200});
  };
  const std::unique_ptr<Engine> exact = load(Profile::kExact, CacheType::kF32);
  std::vector<std::vector<TokenId>> windows(2);
  for (size_t i = 0; i < 400; ++i) windows[i / 200].push_back(static_cast<TokenId>(i * 37 % 384));
  std::vector<uint64_t> steps;
  const Quality same =
      measure_quality(*exact, *exact, windows, [&](uint64_t done, uint64_t) { steps.push_back(done); });
  EXPECT_EQ(same.kl_max, 0);
  EXPECT_EQ(same.perplexity, same.perplexity_exact);
  EXPECT_EQ(same.same_best, 1);
  EXPECT_EQ(same.tokens, 398U);
  EXPECT_EQ(steps, (std::vector<uint64_t>{0, 0, 1, 1}));
  const std::unique_ptr<Engine> int8 = load(Profile::kInt8, CacheType::kBF16);
  const Quality lost = measure_quality(*exact, *int8, windows, {});
  EXPECT_EQ(lost.perplexity_exact, same.perplexity);
  EXPECT_GT(lost.kl, 1e-7);
  EXPECT_LT(lost.kl, 1e-2);
  EXPECT_GE(lost.kl_max, lost.kl_99);
  EXPECT_GE(lost.kl_99, lost.kl);
}

}  // namespace
}  // namespace fathom
