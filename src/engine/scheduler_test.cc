// Law 2 on the engine's side: whatever company a sequence has, whenever it comes, however small the chunks, it says the
// same tokens, bit for bit. Random schedules with fixed seeds; a failure names its seed.
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
        left_(n) {
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

 private:
  Session session_;
  Sampler sampler_;
  size_t left_;
  std::vector<float> logits_;
  bool pool_full_ = false;
};

std::unique_ptr<Engine> open(const std::string& model, size_t chunk, size_t threads, size_t sequences = 8) {
  return Engine::load(
      testing::golden_dir() / "models" / model,
      {.profile = Profile::kExact, .threads = threads, .ctx = 256, .sequences = sequences, .prefill_chunk = chunk});
}

struct Request {
  std::vector<TokenId> prompt;
  size_t n;
  uint64_t seed;
  size_t arrives;  // after this many steps
};

std::vector<Request> random_requests(std::mt19937_64& random) {
  std::vector<Request> out(2 + random() % 5);
  for (Request& r : out) {
    r.prompt.resize(1 + random() % 100);
    for (TokenId& id : r.prompt) id = static_cast<TokenId>(random() % 384);
    r.n = 1 + random() % 12, r.seed = random(), r.arrives = random() % 20;
  }
  return out;
}

class Schedules : public ::testing::TestWithParam<const char*> {};

TEST_P(Schedules, EqualEachSequenceAlone) {
  if (!fs::exists(testing::golden_dir() / "models" / GetParam())) GTEST_SKIP() << "needs golden model " << GetParam();
  const std::unique_ptr<Engine> alone = open(GetParam(), 512, 1);
  for (uint64_t seed = 1; seed <= 12; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937_64 random(seed);
    const std::vector<Request> requests = random_requests(random);
    const std::unique_ptr<Engine> engine = open(GetParam(), 1 + random() % 40, 1 + random() % 3);
    Scheduler scheduler(*engine);
    std::vector<std::unique_ptr<Sequence>> running(requests.size());
    for (size_t step = 0; step < 25 || !scheduler.idle(); ++step) {
      for (size_t i = 0; i < requests.size(); ++i)
        if (requests[i].arrives == step) {
          running[i] = std::make_unique<Sequence>(*engine, requests[i].prompt, requests[i].n, requests[i].seed);
          scheduler.add(*running[i]);
        }
      scheduler.step();
    }
    for (size_t i = 0; i < requests.size(); ++i) {
      Sequence want(*alone, requests[i].prompt, requests[i].n, requests[i].seed);
      Scheduler single(*alone);
      single.add(want);
      while (!want.done()) single.step();
      EXPECT_TRUE(running[i]->same_as(want)) << "request " << i;
    }
  }
}
INSTANTIATE_TEST_SUITE_P(Models, Schedules, ::testing::Values("qwen2", "v3"),
                         [](const auto& param) { return std::string(param.param); });

TEST(Scheduler, APrefixThatIsCachedChangesNothing) {
  const std::unique_ptr<Engine> engine = open("v3", 16, 2);
  const std::vector<TokenId> first = {5, 9, 200, 17, 33, 4, 8, 15}, second = {5, 9, 200, 17, 99, 100, 101};
  Session session(engine->pool());
  EXPECT_EQ(session.set_tokens(first), 0u);
  session.kv().reserve(first.size());
  Sequence warm(*engine, first, 3, 1);
  Scheduler scheduler(*engine);
  scheduler.add(warm);
  while (!warm.done()) scheduler.step();
  EXPECT_EQ(warm.session().set_tokens(second), 4u) << "the shared prefix stays cached";
  EXPECT_EQ(warm.session().set_tokens(second), 4u);
  EXPECT_EQ(warm.session().pending(), 3u);
}

TEST(Scheduler, AFullPoolIsToldAndFreesItsPages) {
  const std::unique_ptr<Engine> engine = open("qwen2", 64, 1, 1);  // 256 positions, 4 pages
  Scheduler scheduler(*engine);
  std::optional<Sequence> a, b;
  a.emplace(*engine, std::vector<TokenId>(190, 7), 50, 1);
  b.emplace(*engine, std::vector<TokenId>(100, 7), 50, 1);
  scheduler.add(*a), scheduler.add(*b);
  while (!a->done() || !b->done()) scheduler.step();
  EXPECT_TRUE(a->pool_full() || b->pool_full());
  a.reset(), b.reset();
  EXPECT_EQ(engine->pool().used_pages(), 0u);
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
