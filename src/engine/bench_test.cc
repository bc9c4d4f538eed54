#include "engine/bench.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/work.h"
#include "engine/answer.h"
#include "engine/probes.h"
#include "engine/replay.h"
#include "quant/synthetic.h"
#include "tests/testing.h"

namespace fathom {
namespace {

constexpr SyntheticShape kTiny{"tiny", "qwen2",
                               R"({"model_type":"qwen2","vocab_size":300,"hidden_size":256,
"intermediate_size":256,"num_hidden_layers":2,"num_attention_heads":4,"num_key_value_heads":2,
"max_position_embeddings":256,"rms_norm_eps":1e-6,"tie_word_embeddings":true,"bos_token_id":null,"eos_token_id":299})"};

class Bench : public ::testing::Test {
 protected:
  std::unique_ptr<Engine> load(const char* mixture) {
    const std::filesystem::path file = folder_.path() / cat(mixture, ".gguf");
    write_synthetic(file, kTiny, find_mixture(mixture), {});
    return Engine::load(file, {.threads = 2, .ctx = 256, .sequences = 2, .prefill_chunk = 32});
  }
  testing::TempDir folder_;
  std::atomic<bool> stop_{false};
};

TEST_F(Bench, KeepsTheCachesOfADepthAndGivesThemBack) {
  const std::unique_ptr<Engine> engine = load("Q4_K_M");
  BenchRun run(*engine, stop_);
  EXPECT_GT(run.prefill(100), 0);
  EXPECT_EQ(engine->pool().used_pages(), 0U);
  EXPECT_GT(run.decode(2, 70, 3), 0);
  EXPECT_EQ(engine->pool().used_pages(), 4U);  // 73 positions each
  EXPECT_GT(run.decode(2, 70, 60), 0);
  EXPECT_EQ(engine->pool().used_pages(), 6U);  // 130 positions each
  EXPECT_GT(run.decode(1, 0, 64), 0);
  EXPECT_EQ(engine->pool().used_pages(), 1U);
  EXPECT_GT(run.verify(8, 60, 3), 0);
  EXPECT_EQ(engine->pool().used_pages(), 1U);  // 60 positions: those of a pass are given back
  run.clear();
  EXPECT_EQ(engine->pool().used_pages(), 0U);
}

TEST_F(Bench, StopsAfterTheNextForward) {
  const std::unique_ptr<Engine> engine = load("Q8_0");
  stop_ = true;
  BenchRun run(*engine, stop_);
  EXPECT_THROW(run.prefill(100), Interrupted);
  EXPECT_EQ(engine->pool().used_pages(), 1U);  // one chunk of the prompt
}

TEST_F(Bench, SaysWhereTheCacheIsFull) {
  const std::unique_ptr<Engine> engine = load("Q8_0");
  BenchRun run(*engine, stop_);
  EXPECT_THROW(run.decode(3, 200, 1), ResourceError);
  EXPECT_THROW(run.verify(8, 510, 1), ResourceError);
}

TEST_F(Bench, ReplayGuessesWhatTheAnswerDid) {
  const std::unique_ptr<Engine> engine = load("Q4_K_M");
  AnswerOptions options;
  options.ignore_eos = true, options.max_tokens = 200, options.sampling.seed = 1;
  for (TokenId id = 70; id < 73; ++id) options.sampling.logit_bias[id] = 60;  // few words, so that they repeat
  Session session(engine->pool());
  AnswerListener nobody;
  const std::vector<TextPiece> prompt{{"a", false}};
  AnswerRun run(*engine, session, prompt, options, nobody);
  Scheduler scheduler(*engine);
  scheduler.add(run);
  while (!scheduler.idle()) scheduler.step();
  const SpeculationStats want = run.take().stats.speculation;
  const std::vector<TokenId> text = session.tokens();
  session.set_tokens({});
  ASSERT_EQ(text.size(), 201U);
  EXPECT_GT(want.accepted, 20U);
  EXPECT_GT(want.drafted, want.accepted);

  const Replayed replayed = replay(*engine, text, stop_);
  EXPECT_EQ(replayed.text, text);
  EXPECT_EQ(replayed.text_off, text);
  EXPECT_EQ(replayed.tokens, 199U);
  EXPECT_EQ(replayed.speculation.passes, want.passes);
  EXPECT_EQ(replayed.speculation.drafted, want.drafted);
  EXPECT_EQ(replayed.speculation.accepted, want.accepted);
  EXPECT_EQ(replayed.speculation.passes + replayed.speculation.accepted, 200U);
  EXPECT_GT(replayed.seconds, 0);
  EXPECT_GT(replayed.seconds_off, 0);
  EXPECT_EQ(engine->pool().used_pages(), 0U);
}

TEST_F(Bench, ReplayOfATextThatRepeatsNothingGuessesNothing) {
  const std::unique_ptr<Engine> engine = load("Q8_0");
  std::vector<TokenId> text(150);
  for (size_t i = 0; i < text.size(); ++i) text[i] = static_cast<TokenId>(i);
  const Replayed replayed = replay(*engine, text, stop_);
  EXPECT_EQ(replayed.speculation.drafted, 0U);
  EXPECT_EQ(replayed.tokens_per_pass(), 1);
  stop_ = true;
  EXPECT_THROW(replay(*engine, text, stop_), Interrupted);
  stop_ = false;
  text.resize(400);  // 7 pages each, and there are 8
  EXPECT_THROW(replay(*engine, text, stop_), ResourceError);
}

TEST(Probes, SeeWhatTheKernelsHave) {
  for (const Kernels* kernels : usable_kernels())
    for (const Profile profile : {Profile::kExact, Profile::kInt8}) {
      const Probes probes(*kernels, profile, 2, size_t{32} << 20);
      EXPECT_STREQ(probes.unit(), profile == Profile::kExact ? "f32" : "int8");
      EXPECT_EQ(probes.buffer_bytes(), size_t{32} << 20);
      const ProbeReading reading = probes.take();
      EXPECT_GT(reading.read_gb_s, 0);
      EXPECT_TRUE(std::isfinite(reading.read_gb_s));
      EXPECT_GT(reading.nops_per_ns, 0);
      EXPECT_EQ(reading.peak_gop_s > 0, kernels != &ref_kernels()) << kernels->name;
    }
}

}  // namespace
}  // namespace fathom
