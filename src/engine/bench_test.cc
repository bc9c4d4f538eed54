#include "engine/bench.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/work.h"
#include "engine/probes.h"
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
