#include "train/rollout.h"

#include <cmath>

#include "base/philox.h"
#include "tests/testing.h"
#include "train/rollout_testing.h"

namespace fathom {
namespace {

using testing::engine_of, testing::kVocabulary, testing::tiny_config, testing::tiny_masters, testing::tiny_prompts;

bool same(const Rollout& a, const Rollout& b) {
  return a.ids == b.ids && a.truncated == b.truncated && a.logprobs.size() == b.logprobs.size() &&
         std::memcmp(a.logprobs.data(), b.logprobs.data(), a.logprobs.size() * sizeof(float)) == 0;
}

class RolloutsOf : public ::testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Models, RolloutsOf, ::testing::Values("llama", "v3"),
                         [](const auto& test) { return std::string(test.param); });

/// Law 2: company, threads, chunks and the size of the pool change no bit.
TEST_P(RolloutsOf, AreTheSameHoweverTheyAreComputed) {
  const Masters masters = tiny_masters(tiny_config(GetParam()));
  const std::vector<std::vector<TokenId>> prompts = tiny_prompts({3, 60, 1, 70, 58});
  const RolloutOptions options{.samples = 2, .temperature = 0.9F, .max_tokens = 40, .seed = 11, .step = 4};
  const std::unique_ptr<Engine> plain = engine_of(masters, {.threads = 1, .sequences = 10});
  const std::vector<Rollout> want = roll_out(*plain, prompts, options);
  ASSERT_EQ(want.size(), 10u);
  EXPECT_FALSE(same(want[0], want[1])) << "samples of one prompt are drawn with different numbers";

  for (size_t p = 0; p < prompts.size(); ++p) {  // each prompt alone, one sample
    RolloutOptions alone = options;
    alone.samples = 1, alone.first_prompt = static_cast<uint32_t>(p);
    EXPECT_TRUE(same(roll_out(*plain, std::span(prompts).subspan(p, 1), alone)[0], want[2 * p])) << "prompt " << p;
  }
  // 3 pages in all: three of the prompts below 64 tokens start together, need a second page each, and find none.
  const std::unique_ptr<Engine> small = engine_of(masters, {.threads = 3, .ctx = 129, .prefill_chunk = 7});
  const std::vector<Rollout> got = roll_out(*small, prompts, options);
  ASSERT_EQ(got.size(), want.size());
  for (size_t i = 0; i < want.size(); ++i) EXPECT_TRUE(same(got[i], want[i])) << "answer " << i;
  EXPECT_EQ(small->pool().max_pages(), 3u);
  EXPECT_EQ(small->pool().used_pages(), 0u);
}

/// A model whose logits are all 0: every token is known from the random numbers alone.
std::unique_ptr<Engine> flat_engine(const std::vector<int>& eos) {
  ModelConfig config = testing::tiny_llama();
  config.eos_token_ids = eos;
  Masters masters = tiny_masters(config);
  const Tensor& head = masters.find("lm_head.weight")->value;
  std::memset(head.bytes(), 0, head.size_bytes());
  return engine_of(masters);
}

TokenId flat_token(const RolloutOptions& o, size_t position, const Rollout& r) {
  const PhiloxCounter counter{static_cast<uint32_t>(position), r.sample, r.prompt, o.step};
  return static_cast<TokenId>(kVocabulary * philox_uniform(o.seed, counter));
}

TEST(Rollouts, DrawByPositionSamplePromptAndStep) {
  const std::unique_ptr<Engine> engine = flat_engine({});
  const RolloutOptions options{.samples = 3, .max_tokens = 9, .seed = 0x123456789, .step = 77, .first_prompt = 5};
  const std::vector<Rollout> rollouts = roll_out(*engine, tiny_prompts({4, 2}), options);
  ASSERT_EQ(rollouts.size(), 6u);
  for (size_t i = 0; i < rollouts.size(); ++i) {
    const Rollout& r = rollouts[i];
    EXPECT_EQ(r.prompt, 5 + i / 3);
    EXPECT_EQ(r.sample, i % 3);
    EXPECT_EQ(r.prompt_tokens, i < 3 ? 4u : 2u);
    ASSERT_EQ(r.completion().size(), 9u);
    ASSERT_EQ(r.logprobs.size(), 9u);
    EXPECT_TRUE(r.truncated);
    for (size_t t = 0; t < 9; ++t) {
      EXPECT_EQ(r.completion()[t], flat_token(options, r.prompt_tokens + t, r));
      EXPECT_NEAR(r.logprobs[t], -std::log(64.0), 1e-6);
    }
  }
}

TEST(Rollouts, EndWithTheEndTokenOrTruncated) {
  const std::vector<std::vector<TokenId>> prompts = tiny_prompts({4});
  RolloutOptions options{.samples = 40, .max_tokens = 30, .seed = 2};
  const std::vector<Rollout> endless = roll_out(*flat_engine({}), prompts, options);
  options.stop_ids = {20, 21};
  const std::vector<Rollout> rollouts = roll_out(*flat_engine({9}), prompts, options);
  size_t ended = 0;
  for (size_t i = 0; i < rollouts.size(); ++i) {
    const std::span<const TokenId> all = endless[i].completion(), got = rollouts[i].completion();
    const auto end = std::find_if(all.begin(), all.end(), [](TokenId id) { return id == 9 || id == 20 || id == 21; });
    const size_t n = std::min<size_t>(30, static_cast<size_t>(end - all.begin()) + 1);
    EXPECT_EQ(std::vector(got.begin(), got.end()), std::vector(all.begin(), all.begin() + static_cast<ptrdiff_t>(n)));
    EXPECT_EQ(rollouts[i].truncated, end == all.end());
    EXPECT_EQ(rollouts[i].logprobs.size(), n);
    ended += end != all.end();
  }
  EXPECT_GT(ended, 20u);
  EXPECT_LT(ended, 40u) << "both ways to end were seen";
}

/// The trainer's next snapshot: as if the engine had been made for it, and neither is copied.
TEST(Rollouts, ComeFromTheModelPublishedLast) {
  ModelConfig config = testing::tiny_llama();
  config.eos_token_ids = {9};
  const Masters first = Masters::draw(config, {.std = 0.3, .seed = 1}, 1);
  const Masters second = Masters::draw(config, {.std = 0.3, .seed = 2}, 1);
  const std::vector<std::vector<TokenId>> prompts = tiny_prompts({3, 5});
  const RolloutOptions options{.samples = 2, .max_tokens = 12};
  const std::unique_ptr<Engine> engine = engine_of(first), fresh = engine_of(second);
  EXPECT_EQ(engine->info().profile, Profile::kExact);
  EXPECT_EQ(engine->info().cache_type, CacheType::kF32);
  EXPECT_TRUE(engine->is_end_of_generation(9));
  EXPECT_FALSE(engine->is_end_of_generation(8));
  const std::vector<Rollout> old = roll_out(*engine, prompts, options), want = roll_out(*fresh, prompts, options);
  std::unique_ptr<const Model> snapshot = second.snapshot(1);
  const Model* const address = snapshot.get();
  engine->publish(std::move(snapshot));
  EXPECT_EQ(&engine->model(), address);
  const std::vector<Rollout> got = roll_out(*engine, prompts, options);
  for (size_t i = 0; i < got.size(); ++i) EXPECT_TRUE(same(got[i], want[i]));
  EXPECT_FALSE(same(old[0], want[0]));
}

TEST(Rollouts, BecomeSamplesWhoseAnswerCounts) {
  const Sample sample = sample_of({.ids = {5, 6, 7, 8, 9}, .prompt_tokens = 3, .logprobs = {-1, -2}});
  EXPECT_EQ(sample.ids, (std::vector<TokenId>{5, 6, 7, 8, 9}));
  EXPECT_EQ(sample.counts, (std::vector<uint8_t>{0, 0, 0, 1, 1}));
}

TEST(Rollouts, RefuseWhatCannotBeDrawn) {
  const std::unique_ptr<Engine> engine = flat_engine({});
  const auto message = [&](const std::vector<std::vector<TokenId>>& prompts, const RolloutOptions& options) {
    try {
      roll_out(*engine, prompts, options);
    } catch (const Error& e) {
      return std::string(e.what());
    }
    return std::string("no error");
  };
  EXPECT_EQ(message({{1}, {}}, {.max_tokens = 9, .first_prompt = 3}),
            "rollouts: prompt 4: expected tokens, found none");
  EXPECT_EQ(message(tiny_prompts({57}), {.max_tokens = 200}),
            "rollouts: prompt 0: expected at most 256 tokens with its answer, found 57 and up to 200");
  EXPECT_EQ(message({{1}}, {.temperature = 0}), "rollouts: expected a temperature above 0, found 0");
  EXPECT_EQ(message({{1}}, {.max_tokens = 0}), "rollouts: expected at least one answer of one token, found 1 of 0");
  EXPECT_EQ(message({{1}}, {.max_tokens = 1}), "no error");
  EXPECT_EQ(engine->pool().used_pages(), 0u);
}

}  // namespace
}  // namespace fathom
