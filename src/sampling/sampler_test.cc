#include "sampling/sampler.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <set>
#include <vector>

#include "base/error.h"
#include "base/hash.h"
#include "base/philox.h"
#include "sampling/fixed_exp.h"
#include "tests/testing.h"

namespace fathom {
namespace {

using ::testing::HasSubstr;
constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

struct Seen {
  TokenId id;
  bool from_prompt;
};

// The definitions of sampler.h taken literally, with full sorts and no shortcut. Independent of the code
// under test but for the random number and fixed_exp, which has its own test.
struct Literal {
  std::vector<TokenId> kept;  // ascending
  std::vector<double> weights;

  Literal(std::span<const float> logits, const SamplingParams& p, const std::vector<Seen>& history, TokenMask mask) {
    const size_t V = logits.size();
    std::vector<double> l(logits.begin(), logits.end());
    const size_t window = p.penalty_window == 0 ? history.size() : static_cast<size_t>(p.penalty_window);
    for (size_t id = 0; id < V; ++id) {
      int generated = 0;
      bool seen = false;
      for (size_t i = 0; i < history.size(); ++i) {
        if (static_cast<size_t>(history[i].id) != id) continue;
        if (i + window >= history.size()) seen = true;
        if (!history[i].from_prompt) ++generated;
      }
      if (seen) l[id] = l[id] > 0 ? l[id] / p.repetition_penalty : l[id] * p.repetition_penalty;
      l[id] -= generated * p.frequency_penalty;
      if (generated > 0) l[id] -= p.presence_penalty;
      if (const auto bias = p.logit_bias.find(static_cast<TokenId>(id)); bias != p.logit_bias.end())
        l[id] += bias->second;
      if (!mask.allows(id)) l[id] = -kInf;
    }
    std::vector<TokenId> order;
    for (size_t id = 0; id < V; ++id)
      if (l[id] != -kInf) order.push_back(static_cast<TokenId>(id));
    const double temperature = p.temperature == 0 ? 1 : p.temperature;
    std::stable_sort(order.begin(), order.end(), [&](TokenId a, TokenId b) {
      return l[static_cast<size_t>(a)] / temperature > l[static_cast<size_t>(b)] / temperature;
    });
    if (p.temperature == 0) order.resize(1);
    if (p.top_k > 0 && static_cast<size_t>(p.top_k) < order.size()) order.resize(static_cast<size_t>(p.top_k));
    const auto x = [&](TokenId id) { return l[static_cast<size_t>(id)] / temperature; };
    const auto weight = [&, largest = x(order[0])](TokenId id) { return fixed_exp(x(id) - largest); };
    const auto units = [&](TokenId id) { return std::floor(weight(id) * 0x1p40); };  // sums below 2^53 here: exact
    double total = 0, reached = 0;
    for (TokenId id : order) total += units(id);
    for (size_t n = 0; n < order.size(); ++n) {
      reached += units(order[n]);
      if (p.top_p < 1 && reached >= p.top_p * total) order.resize(n + 1);
    }
    std::sort(order.begin(), order.end());
    for (TokenId id : order)
      if (weight(id) >= p.min_p) kept.push_back(id), weights.push_back(weight(id));
  }

  TokenId draw(double u) const {
    double total = 0, reached = 0;
    for (double w : weights) total += w;
    for (size_t i = 0; i < kept.size(); ++i)
      if ((reached += weights[i]) > u * total) return kept[i];
    return kept.back();
  }
};

std::vector<float> scaled(std::vector<float> values, float factor) {
  for (float& v : values) v *= factor;
  return values;
}

double uniform(uint32_t stream, uint32_t i) { return philox_uniform(99, {i, stream, 0, 0}); }

TEST(FixedExp, WithinOneUlp) {
  double worst = 0;
  for (uint32_t i = 0; i < 200000; ++i) {
    const double x = -(i % 3 == 0 ? 708 : i % 3 == 1 ? 40 : 1) * uniform(1, i);
    const long double want = std::exp(static_cast<long double>(x));
    const double ulp = std::ldexp(1.0, std::ilogb(static_cast<double>(want)) - 52);
    worst = std::max(worst, static_cast<double>(std::fabs(fixed_exp(x) - want) / ulp));
  }
  EXPECT_LT(worst, 1.0);
  EXPECT_EQ(fixed_exp(0.0), 1.0);
  EXPECT_EQ(fixed_exp(-0.0), 1.0);
  EXPECT_EQ(fixed_exp(-709.0), 0.0);
  EXPECT_EQ(fixed_exp(-HUGE_VAL), 0.0);
  EXPECT_GT(fixed_exp(-708.0), 0.0);
}

TEST(FixedExp, SameBitsOnEveryMachine) {
  Blake2b256 bits;
  for (uint32_t i = 0; i < 10000; ++i) {
    const double y = fixed_exp(-(i % 2 == 0 ? 708 : 20) * uniform(3, i));
    bits.update(std::span(reinterpret_cast<const uint8_t*>(&y), sizeof y));
  }
  EXPECT_EQ(bits.hex(), "84a084d648b0a11cafda44f3be84d83234336898175c762bdcbfe7ffdc581373");
}

TEST(FixedExp, ARowEqualsItsElements) {
  for (size_t n = 0; n < 40; ++n) {
    std::vector<double> x(n), w(n);
    for (size_t i = 0; i < n; ++i) x[i] = 5 - 800 * uniform(2, static_cast<uint32_t>(i));
    fixed_exp(w.data(), x.data(), 5, n);
    for (size_t i = 0; i < n; ++i) EXPECT_EQ(w[i], fixed_exp(x[i] - 5)) << n << " " << i;
  }
}

TEST(Sampler, EqualsTheDefinitionsTakenLiterally) {
  std::set<size_t> kept_sizes;
  for (uint32_t trial = 0; trial < 2000; ++trial) {
    uint32_t i = 0;
    const auto u = [&] { return uniform(1000 + trial, i++); };
    const auto one_of = [&](auto... values) {
      return std::array{values...}[static_cast<size_t>(u() * sizeof...(values))];
    };
    const size_t V = one_of(1, 2, 3, 5, 17, 64, 65, 200, 1000, 5000);
    std::vector<float> logits = scaled(testing::random_floats(V, trial), one_of(0.1f, 1.0f, 5.0f, 30.0f));
    if (u() < 0.3)
      for (float& l : logits) l = std::round(l);  // many ties
    if (u() < 0.2)
      for (size_t id = 1; id < V; id += 3) logits[id] = -kInf;
    SamplingParams p{.temperature = one_of(0.0, 0.3, 0.6, 1.0, 2.0),
                     .top_k = one_of(0, 1, 2, 7, 40, 64, 500, 100000),
                     .top_p = one_of(0.0, 0.1, 0.5, 0.95, 0.999, 1 - 1e-10, 1.0),
                     .min_p = one_of(0.0, 0.02, 0.3, 1.0)};
    p.seed = trial;
    p.choice = trial % 4;
    std::vector<Seen> history;
    if (u() < 0.5) {
      p.repetition_penalty = one_of(0.8, 1.0, 1.3);
      p.frequency_penalty = one_of(-0.5, 0.0, 0.7);
      p.presence_penalty = one_of(-1.0, 0.0, 0.4);
      p.penalty_window = one_of(0, 1, 5, 1000);
      for (uint32_t n = 0; n < 30; ++n)
        history.push_back({static_cast<TokenId>(u() * u() * static_cast<double>(V)), n < 12});
    }
    if (u() < 0.3) p.logit_bias = {{0, 3.5}, {static_cast<TokenId>(V - 1), -2.0}};
    std::vector<uint64_t> bits((V + 63) / 64, ~uint64_t{0});
    for (uint64_t& word : bits) word = static_cast<uint64_t>(u() * 0x1p63) | 1;
    const TokenMask mask = u() < 0.3 ? TokenMask{bits} : TokenMask{};

    Sampler sampler(p, V);
    for (const Seen& s : history) sampler.observe(s.id, s.from_prompt);
    const Literal literal(logits, p, history, mask);
    kept_sizes.insert(literal.kept.size());
    for (uint32_t position : {0u, 1u, 2u, 70000u, ~0u})
      ASSERT_EQ(sampler.draw(logits, position, mask), literal.draw(philox_uniform(p.seed, {position, p.choice, 0, 0})))
          << "trial " << trial << " V " << V << " T " << p.temperature << " k " << p.top_k << " p " << p.top_p;
  }
  EXPECT_GT(kept_sizes.size(), 50u);  // the trials did not all end in one or two tokens
}

// Pearson's statistic of n draws at positions 0..n-1.
double chi_square(const Sampler& sampler, std::span<const float> logits, const Literal& want, uint32_t n) {
  std::vector<int> hits(logits.size());
  for (uint32_t position = 0; position < n; ++position) ++hits[static_cast<size_t>(sampler.draw(logits, position))];
  double total = 0, statistic = 0;
  int inside = 0;
  for (double w : want.weights) total += w;
  for (size_t i = 0; i < want.kept.size(); ++i) {
    const double expected = n * want.weights[i] / total;
    const int hit = hits[static_cast<size_t>(want.kept[i])];
    inside += hit;
    statistic += (hit - expected) * (hit - expected) / expected;
  }
  EXPECT_EQ(inside, static_cast<int>(n)) << "a token outside the kept set was drawn";
  return statistic;
}

TEST(Sampler, DrawsFollowTheDistribution) {
  constexpr uint32_t kDraws = 20000;
  const std::vector<float> logits = testing::random_floats(50, 7);
  const std::vector<SamplingParams> settings = {
      {.temperature = 1, .top_p = 1},
      {.temperature = 0.6, .top_p = 1},
      {.temperature = 1, .top_k = 20, .top_p = 1},
      {.temperature = 1.5, .top_p = 0.9},
      {.temperature = 1, .top_p = 1, .min_p = 0.1},
      {.temperature = 0.6, .top_p = 0.95},
      {.temperature = 1, .top_p = 1, .presence_penalty = 1, .frequency_penalty = 0.3},
  };
  for (SamplingParams p : settings)
    for (uint64_t seed : {1, 2, 3}) {
      p.seed = seed;
      Sampler sampler(p, logits.size());
      std::vector<Seen> history;
      for (TokenId id : {3, 9, 9, 20, 41}) history.push_back({id, false}), sampler.observe(id, false);
      const Literal want(logits, p, history, {});
      const double df = static_cast<double>(want.kept.size()) - 1;
      ASSERT_GT(df, 3);
      // Wilson and Hilferty's approximation of the 0.99999 quantile of chi-square; the seeds are fixed.
      const double limit = df * std::pow(1 - 2 / (9 * df) + 4.265 * std::sqrt(2 / (9 * df)), 3);
      EXPECT_LT(chi_square(sampler, logits, want, kDraws), limit)
          << "T " << p.temperature << " df " << df << " seed " << seed;
    }
}

TEST(Sampler, AWrongDistributionWouldBeNoticed) {
  const std::vector<float> logits = testing::random_floats(50, 7);
  const Sampler sampler({.temperature = 1, .top_p = 1, .seed = 1}, logits.size());
  EXPECT_GT(chi_square(sampler, logits, Literal(logits, {.temperature = 0.9, .top_p = 1}, {}, {}), 20000), 100);
}

TEST(Sampler, SeedChoicePositionAndRolloutGiveIndependentDraws) {
  const std::vector<float> flat(64, 0.5f);
  const auto draws = [&](uint64_t seed, uint32_t choice, uint32_t prompt, uint32_t step) {
    const Sampler s({.temperature = 1, .top_p = 1, .seed = seed, .choice = choice, .prompt = prompt, .step = step}, 64);
    std::vector<TokenId> out;
    for (uint32_t position = 0; position < 4000; ++position) out.push_back(s.draw(flat, position));
    return out;
  };
  const std::vector<TokenId> base = draws(5, 0, 0, 0);
  EXPECT_EQ(base, draws(5, 0, 0, 0));
  const std::vector<std::vector<TokenId>> others = {draws(6, 0, 0, 0), draws(uint64_t{5} | uint64_t{1} << 40, 0, 0, 0),
                                                    draws(5, 1, 0, 0), draws(5, 0, 1, 0), draws(5, 0, 0, 1)};
  for (const std::vector<TokenId>& other : others) {
    int equal = 0;
    for (size_t i = 0; i < base.size(); ++i) equal += base[i] == other[i];
    EXPECT_NEAR(equal, 4000.0 / 64, 6 * std::sqrt(4000.0 / 64));
  }
  // Uniform weights of 1: the token is floor(64 u), and its order with the position does not matter.
  const Sampler s({.temperature = 1, .top_p = 1, .seed = 5}, 64);
  for (uint32_t position = 4000; position-- > 0;) {
    EXPECT_EQ(s.draw(flat, position), base[position]);
    EXPECT_EQ(base[position], static_cast<TokenId>(64 * philox_uniform(5, {position, 0, 0, 0})));
  }
  const Sampler rollout({.temperature = 1, .top_p = 1, .seed = 5, .choice = 2, .prompt = 3, .step = 4}, 64);
  for (uint32_t position = 0; position < 100; ++position)
    EXPECT_EQ(rollout.draw(flat, position), static_cast<TokenId>(64 * philox_uniform(5, {position, 2, 3, 4})));
}

TEST(Sampler, TiesGoToTheLowerId) {
  const std::vector<float> logits = {1, 3, 2, 3, 3, 0};
  EXPECT_EQ(Sampler({.temperature = 0}, 6).draw(logits, 0), 1);
  std::set<TokenId> by_k, by_p;
  for (uint32_t position = 0; position < 200; ++position) {
    by_k.insert(Sampler({.temperature = 1, .top_k = 2, .top_p = 1}, 6).draw(logits, position));
    // Four equals of probability 1/4: two reach 0.5 exactly.
    by_p.insert(Sampler({.temperature = 1, .top_p = 0.5}, 4).draw(std::vector<float>(4, 2.0f), position));
  }
  EXPECT_EQ(by_k, (std::set<TokenId>{1, 3}));
  EXPECT_EQ(by_p, (std::set<TokenId>{0, 1}));
}

TEST(Sampler, PenaltiesByHand) {
  // Greedy shows whose logit is the largest. Prompt: 0 twice; output: 1 once, 2 three times.
  const auto greedy = [](SamplingParams p, std::vector<float> logits) {
    p.temperature = 0;
    Sampler s(p, logits.size());
    for (TokenId id : {0, 0}) s.observe(id, true);
    for (TokenId id : {1, 2, 2, 2}) s.observe(id, false);
    return s.draw(logits, 6);
  };
  EXPECT_EQ(greedy({.repetition_penalty = 2}, {4, 0, 0, 2.01f}), 3);  // 4 / 2 < 2.01
  EXPECT_EQ(greedy({.repetition_penalty = 2}, {4, 0, 0, 1.99f}), 0);
  EXPECT_EQ(greedy({.repetition_penalty = 2}, {-1, -1, -1, -1.99f}), 3);                   // -1 * 2 < -1.99
  EXPECT_EQ(greedy({.repetition_penalty = 2, .penalty_window = 4}, {4, 0, 0, 2.01f}), 0);  // the prompt has left it
  EXPECT_EQ(greedy({.presence_penalty = 2, .frequency_penalty = 2}, {1, 0, 0, 0.9f}), 0);  // the prompt does not count
  EXPECT_EQ(greedy({.presence_penalty = 0.5}, {0, 1, 0, 0.49f}), 1);
  EXPECT_EQ(greedy({.presence_penalty = 0.5}, {0, 1, 0, 0.51f}), 3);
  EXPECT_EQ(greedy({.frequency_penalty = 0.5}, {0, 0, 1.6f, 0.2f}), 3);  // 1.6 - 3 * 0.5 = 0.1
  EXPECT_EQ(greedy({.logit_bias = {{3, 100}}}, {5, 5, 5, -90}), 3);
  EXPECT_EQ(greedy({.logit_bias = {{0, -HUGE_VAL}}}, {5, 1, 4, 0}), 2);
}

TEST(Sampler, BrokenLogitsAreNamed) {
  const Sampler greedy({.temperature = 0}, 3), warm({}, 3);
  const uint64_t only_two = 4, none = 0;
  for (const Sampler* s : {&greedy, &warm}) {
    for (float bad : {kNan, kInf}) {
      try {
        s->draw(std::vector<float>{0, bad, 1}, 17);
        FAIL();
      } catch (const Error& e) {
        EXPECT_THAT(e.what(), HasSubstr("position 17: expected finite numbers or -inf, found"));
        EXPECT_THAT(e.what(), HasSubstr("for token 1 of 3"));
      }
    }
    EXPECT_THROW(s->draw(std::vector<float>{-kInf, -kInf, -kInf}, 0), Error);
    EXPECT_THROW(s->draw(std::vector<float>{0, 1, 2}, 0, {std::span(&none, 1)}), Error);
    EXPECT_THROW(s->draw(std::vector<float>{0, 1, -kInf}, 0, {std::span(&only_two, 1)}), Error);
    EXPECT_EQ(s->draw(std::vector<float>{9, 1, -1e30f}, 0, {std::span(&only_two, 1)}), 2);
    EXPECT_EQ(s->draw(std::vector<float>{-3e38f, 3e38f, 1}, 0), 1);
  }
}

TEST(Sampler, TokensOutsideTheVocabularyAreRefused) {
  Sampler s({}, 10);
  EXPECT_THROW(s.observe(-1, true), Error);
  EXPECT_THROW(s.observe(10, false), Error);
  EXPECT_THROW(Sampler({.logit_bias = {{10, 1}}}, 10), Error);
  EXPECT_NO_THROW(Sampler({.logit_bias = {{9, 1}}}, 10));
  EXPECT_THROW(Sampler({}, 0), Error);
  EXPECT_THROW(Sampler({}, size_t{1} << 40), Error);
}

TEST(SamplingParams, RangesAreNamed) {
  const auto message = [](const SamplingParams& p) -> std::string {
    try {
      p.validate();
    } catch (const Error& e) {
      return e.what();
    }
    return "";
  };
  EXPECT_EQ(message({}), "");
  EXPECT_EQ(message({.temperature = 0, .top_p = 0, .min_p = 1, .presence_penalty = -2, .frequency_penalty = 2}), "");
  EXPECT_EQ(message({.temperature = -1}), "sampling: temperature: expected 0 (greedy) or 1e-09 to 1000, found -1");
  EXPECT_EQ(message({.top_p = 1.5}), "sampling: top_p: expected 0 to 1, found 1.5");
  EXPECT_THAT(message({.temperature = kNan}), HasSubstr("temperature"));
  EXPECT_THAT(message({.temperature = kInf}), HasSubstr("temperature"));
  EXPECT_THAT(message({.temperature = 1e-300}), HasSubstr("temperature"));
  EXPECT_THAT(message({.top_k = -1}), HasSubstr("top_k: expected 0 (all) or more, found -1"));
  EXPECT_THAT(message({.min_p = kNan}), HasSubstr("min_p"));
  EXPECT_THAT(message({.repetition_penalty = 0}), HasSubstr("repetition_penalty: expected 0.01 to 100, found 0"));
  EXPECT_THAT(message({.penalty_window = -1}), HasSubstr("penalty_window"));
  EXPECT_THAT(message({.presence_penalty = 2.5}), HasSubstr("presence_penalty"));
  EXPECT_THAT(message({.frequency_penalty = -2.5}), HasSubstr("frequency_penalty"));
  EXPECT_THAT(message({.logit_bias = {{4, 101}}}), HasSubstr("logit_bias of token 4: expected -100 to 100, found 101"));
  EXPECT_THAT(message({.logit_bias = {{-4, 1}}}), HasSubstr("logit_bias"));
  EXPECT_THAT(message({.logit_bias = {{4, HUGE_VAL}}}), HasSubstr("found inf"));
}

}  // namespace
}  // namespace fathom
