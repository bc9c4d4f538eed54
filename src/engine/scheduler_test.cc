// The scheduler's single cases; random schedules are in schedules_test.cc.
#include "engine/scheduler.h"

#include "base/json.h"
#include "sampling/sampler.h"
#include "tests/testing.h"

namespace fathom {
namespace {

namespace fs = std::filesystem;

/// Draws n tokens, keeping the logits of each step.
class Sequence final : public Running {
 public:
  Sequence(Engine& engine, const std::vector<TokenId>& prompt, size_t n, uint64_t seed)
      : session_(engine.pool()),
        sampler_({.temperature = 1, .top_p = 1, .seed = seed}, engine.config().vocab_size),
        left_(n),
        vocab_size_(engine.config().vocab_size) {
    session_.set_tokens(prompt);
  }
  Session& session() override { return session_; }
  bool done() const override { return left_ == 0; }
  void on_logits(std::span<const float> logits) override {
    logits_.insert(logits_.end(), logits.begin(), logits.end());
    session_.append(sampler_.draw(logits, static_cast<uint32_t>(session_.tokens().size())));
    --left_;
  }
  void on_pool_full() override { pool_full_ = true, left_ = 0; }

  const std::vector<TokenId>& tokens() const { return session_.tokens(); }
  bool same_as(const Sequence& other) const {
    return tokens() == other.tokens() && logits_.size() == other.logits_.size() &&
           std::memcmp(logits_.data(), other.logits_.data(), logits_.size() * sizeof(float)) == 0;
  }
  bool pool_full() const { return pool_full_; }
  /// Another prompt on the same session; returns the tokens that stay cached.
  size_t begin_again(const std::vector<TokenId>& prompt, size_t n, uint64_t seed) {
    sampler_ = Sampler({.temperature = 1, .top_p = 1, .seed = seed}, vocab_size_);
    left_ = n;
    logits_.clear();
    return session_.set_tokens(prompt);
  }

 private:
  Session session_;
  Sampler sampler_;
  size_t left_;
  std::vector<float> logits_;
  bool pool_full_ = false;
  size_t vocab_size_;
};

std::unique_ptr<Engine> open(const std::string& model, size_t chunk, size_t threads, size_t sequences = 8,
                             Profile profile = Profile::kExact) {
  return Engine::load(
      testing::golden_dir() / "models" / model,
      {.profile = profile, .threads = threads, .ctx = 256, .sequences = sequences, .prefill_chunk = chunk});
}

TEST(Scheduler, APrefixThatIsCachedChangesNothing) {
  if (!fs::exists(testing::golden_dir() / "models" / "v3")) GTEST_SKIP() << "needs golden model v3";
  std::vector<TokenId> first(90, 7), second(90, 7);
  for (size_t i = 0; i < 90; ++i) first[i] = second[i] = static_cast<TokenId>(i * 31 % 384);
  for (size_t i = 71; i < 90; ++i) second[i] = static_cast<TokenId>(i * 17 % 384);
  for (const Profile profile : {Profile::kExact, Profile::kInt8}) {
    const std::unique_ptr<Engine> engine = open("v3", 16, 2, 8, profile);
    const auto finish = [&](Sequence& s) {
      Scheduler scheduler(*engine);
      scheduler.add(s);
      while (!s.done()) scheduler.step();
    };
    Sequence cold(*engine, second, 5, 1), warm(*engine, first, 3, 9);
    finish(cold), finish(warm);
    EXPECT_EQ(warm.begin_again(second, 5, 1), 71u) << "the shared prefix stays cached";
    finish(warm);
    EXPECT_TRUE(warm.same_as(cold)) << name(profile);
  }
}

TEST(Scheduler, AFullPoolMakesOneWaitAndChangesNoBit) {
  if (!fs::exists(testing::golden_dir() / "models" / "qwen2")) GTEST_SKIP() << "needs golden model qwen2";
  const std::unique_ptr<Engine> engine = open("qwen2", 64, 1, 1);  // 256 positions, 4 pages
  const std::vector<TokenId> long_prompt(150, 7), short_prompt(100, 9);
  std::optional<Sequence> a, b, alone;
  alone.emplace(*engine, short_prompt, 10, 1);
  Scheduler single(*engine);
  single.add(*alone);
  while (!alone->done()) single.step();
  alone->session().kv().truncate(0);  // keeps its tokens and logits, gives its pages back
  a.emplace(*engine, long_prompt, 10, 1);
  b.emplace(*engine, short_prompt, 10, 1);
  Scheduler scheduler(*engine);
  scheduler.add(*a), scheduler.add(*b);
  while (!a->done() || !b->done()) {
    scheduler.step();
    if (a->done()) a->session().kv().truncate(0);
  }
  EXPECT_FALSE(b->pool_full());
  EXPECT_TRUE(b->same_as(*alone));
  a.reset(), b.reset(), alone.reset();
  EXPECT_EQ(engine->pool().used_pages(), 0u);
}

TEST(Scheduler, APoolThatNobodyFreesIsTold) {
  if (!fs::exists(testing::golden_dir() / "models" / "qwen2")) GTEST_SKIP() << "needs golden model qwen2";
  const std::unique_ptr<Engine> engine = open("qwen2", 64, 1, 1);
  Sequence s(*engine, std::vector<TokenId>(250, 7), 50, 1);
  Scheduler scheduler(*engine);
  scheduler.add(s);
  while (!s.done()) scheduler.step();
  EXPECT_TRUE(s.pool_full());
}

TEST(Engine, MemoryThatDoesNotSufficeIsRefusedWithTheNumbers) {
  const testing::TempDir dir;
  const fs::path from = testing::golden_dir() / "models" / "qwen2", to = dir.path() / "huge";
  fs::copy(from, to);
  fs::permissions(to / "config.json", fs::perms::owner_write, fs::perm_options::add);
  json::value config = read_json_file(to / "config.json");
  config.as_object()["max_position_embeddings"] = 2000000000;
  std::ofstream(to / "config.json") << to_json(config);
  try {
    Engine::load(to, {.ctx = 2000000000});
    FAIL();
  } catch (const ResourceError& e) {
    EXPECT_THAT(e.what(), ::testing::HasSubstr("not enough memory"));
    EXPECT_EQ(e.exit_code(), 3);
  }
}

TEST(Engine, DefaultProfileFollowsTheBytes) {
  const std::vector<TensorInfo> quantised = {{"a", DType::kQ4_K, {256, 256}, 36864}, {"b", DType::kF32, {256}, 1024}};
  EXPECT_EQ(default_profile(quantised, true), Profile::kInt8);
  const std::vector<TensorInfo> bf16 = {{"a", DType::kBF16, {256, 256}, 131072}};
  EXPECT_EQ(default_profile(bf16, true), Profile::kBF16);
  EXPECT_EQ(default_profile(bf16, false), Profile::kExact);
  const std::vector<TensorInfo> f32 = {{"a", DType::kF32, {256, 256}, 262144}};
  EXPECT_EQ(default_profile(f32, true), Profile::kExact);
}

}  // namespace
}  // namespace fathom
