// Law 2 under random schedules: sequences that come and go, share beginnings, have adapters of their own or none, have
// priorities, want the logits of their prompts, are guessed, cancelled in mid-forward and preempted in pools that are
// too small, say what each says alone, bit for bit. A failure names its seed, and FATHOM_SCHEDULES=1
// FATHOM_FIRST_SEED=S replays it; tools/simulate_schedules.sh runs 100,000.
#include <cstdlib>

#include "engine/adapter_testing.h"
#include "engine/lora.h"
#include "engine/scheduler.h"
#include "sampling/sampler.h"
#include "tests/testing.h"

namespace fathom {
namespace {

size_t from_environment(const char* name, size_t fallback) {
  const char* text = std::getenv(name);
  return text ? std::strtoull(text, nullptr, 10) : fallback;
}

struct Request {
  std::vector<TokenId> prompt;
  size_t n = 0;
  uint64_t seed = 0;
  size_t arrives = 0;  // after this many steps
  int priority = 0;
  size_t adapter = 0;                // which one; 0: none
  double right = 0;                  // share of the guesses that are right; 0: no guesses
  bool mtp = false;                  // it wants the module's guesses
  bool prompt_logits = false;        // and the logits of its prompt
  size_t cancel_after = SIZE_MAX;    // times that it is asked whether it is cancelled
  std::vector<TokenId> tokens = {};  // what it says alone
  std::vector<float> logits = {};    // and from which logits
  std::vector<float> of_prompt = {};
};

class Sequence final : public Running {
 public:
  Sequence(Engine& engine, const Request& request, uint64_t guesses,
           std::shared_ptr<const SequenceAdapter> adapter = nullptr)
      : session_(engine.pool(), {}, std::move(adapter)),
        sampler_({.temperature = 1, .top_p = 1, .seed = request.seed}, engine.config().vocab_size),
        request_(request),
        random_(guesses) {
    session_.set_tokens(request.prompt);
  }
  Session& session() override { return session_; }
  bool done() const override { return over_ || drawn() == request_.n; }
  void on_logits(std::span<const float> logits) override {
    EXPECT_FALSE(over_) << "nothing is drawn for who has gone";
    logits_.insert(logits_.end(), logits.begin(), logits.end());
    session_.append(sampler_.draw(logits, static_cast<uint32_t>(session_.tokens().size())));
  }
  std::span<const Draft> drafts() override {
    drafts_.clear();
    double chance = 1;
    for (size_t i = drawn(); i + 1 < request_.n && request_.right > 0 && drafts_.size() < 5; ++i) {
      const bool right = static_cast<double>(random_() % 1000) < 1000 * request_.right;
      const TokenId known = request_.tokens[request_.prompt.size() + i];
      drafts_.push_back({right ? known : static_cast<TokenId>(random_() % 384), chance *= 0.9});
    }
    return drafts_;
  }
  bool wants_prompt_logits() const override {
    return request_.prompt_logits && prompt_known_ + 1 < request_.prompt.size();
  }
  void on_prompt_logits(std::span<const float> logits, size_t position) override {
    if (position != prompt_known_) return;  // again, after a preemption
    ++prompt_known_;
    of_prompt_.insert(of_prompt_.end(), logits.begin(), logits.end());
  }
  bool wants_mtp() const override { return request_.mtp; }
  void on_pool_full() override { over_ = pool_full_ = true; }
  int priority() const override { return request_.priority; }
  bool cancelled() const override { return asked_++ >= request_.cancel_after; }
  void on_cancelled() override { over_ = true; }
  void on_step() override { computing_ = true; }
  void begin_step() { computing_ = false; }
  bool left_while_computing() const { return over_ && computing_; }

  bool pool_full() const { return pool_full_; }
  const std::vector<TokenId>& tokens() const { return session_.tokens(); }
  const std::vector<float>& logits() const { return logits_; }
  const std::vector<float>& of_prompt() const { return of_prompt_; }
  /// What it said is what it says alone, as far as it came.
  void expect_as_alone() const {
    EXPECT_FALSE(pool_full_);
    if (request_.cancel_after == SIZE_MAX) {
      EXPECT_EQ(tokens().size(), request_.tokens.size());
    }
    ASSERT_LE(tokens().size(), request_.tokens.size());
    EXPECT_TRUE(std::equal(tokens().begin(), tokens().end(), request_.tokens.begin()));
    ASSERT_LE(of_prompt_.size(), request_.of_prompt.size());
    EXPECT_TRUE(logits_.empty() || of_prompt_.size() == request_.of_prompt.size());
    if (!of_prompt_.empty()) {
      EXPECT_EQ(0, std::memcmp(of_prompt_.data(), request_.of_prompt.data(), of_prompt_.size() * sizeof(float)));
    }
    if (logits_.empty()) return;
    EXPECT_EQ(0, std::memcmp(logits_.data(), request_.logits.data(), logits_.size() * sizeof(float)));
  }

 private:
  size_t drawn() const { return session_.tokens().size() - request_.prompt.size(); }

  Session session_;
  Sampler sampler_;
  const Request& request_;
  std::mt19937_64 random_;
  std::vector<float> logits_, of_prompt_;
  size_t prompt_known_ = 0;
  std::vector<Draft> drafts_;
  bool over_ = false, pool_full_ = false, computing_ = false;
  mutable size_t asked_ = 0;
};

class Schedules : public ::testing::TestWithParam<const char*> {
 protected:
  static constexpr size_t kEngines = 12, kContext = 256, kAdapters = 2;

  void SetUp() override {
    if (!std::filesystem::exists(testing::golden_dir() / "models" / GetParam()))
      GTEST_SKIP() << "needs golden model " << GetParam();
    alone_.push_back(open(512, 1, 1));
    for (size_t i = 1; i <= kAdapters; ++i) {
      testing::write_random_adapter(adapter(i), alone_[0]->model(), i);
      alone_.push_back(open(512, 1, 1, adapter(i)));
    }
    std::mt19937_64 random(7);
    for (size_t i = 0; i < kEngines; ++i) {
      engines_.push_back(open(1 + random() % (i % 2 ? 40 : 200), 1 + i % 3, i % 4 == 3 ? 6 : 1));
      adapters_.push_back({nullptr});
      for (size_t a = 1; a <= kAdapters; ++a)
        adapters_.back().push_back(load_adapter(*engines_.back(), adapter(a)).adapter);
    }
  }

  std::filesystem::path adapter(size_t i) const { return folder_.path() / std::to_string(i); }

  static std::unique_ptr<Engine> open(size_t chunk, size_t threads, size_t sequences,
                                      const std::filesystem::path& adapter = {}) {
    return Engine::load(testing::golden_dir() / "models" / GetParam(), {.profile = Profile::kExact,
                                                                        .threads = threads,
                                                                        .ctx = kContext,
                                                                        .sequences = sequences,
                                                                        .prefill_chunk = chunk,
                                                                        .adapter = adapter});
  }

  /// On an engine whose only adapter it is, as `fathom run --adapter` has it.
  void run_alone(Request& request) {
    Request plain = request;
    plain.cancel_after = SIZE_MAX, plain.right = 0, plain.mtp = false;
    Engine& engine = *alone_[request.adapter];
    Sequence sequence(engine, plain, 0);
    Scheduler scheduler(engine);
    scheduler.add(sequence);
    while (!sequence.done()) scheduler.step();
    request.tokens = sequence.tokens(), request.logits = sequence.logits();
    request.of_prompt = sequence.of_prompt();
  }

  /// Some begin alike, some go on from what an earlier one said.
  std::vector<Request> random_requests(std::mt19937_64& random) {
    const auto ids = [&](size_t n) {
      std::vector<TokenId> out(n);
      for (TokenId& id : out) id = static_cast<TokenId>(random() % 384);
      return out;
    };
    const std::vector<TokenId> stem = ids(random() % 140);
    std::vector<Request> out(2 + random() % 6);
    for (size_t i = 0; i < out.size(); ++i) {
      Request& r = out[i];
      if (i > 0 && random() % 4 == 0) {
        r.prompt = out[random() % i].tokens;
      } else if (random() % 3 != 0) {
        r.prompt = stem;
        r.prompt.resize(stem.size() - random() % (stem.size() / 4 + 1));
      }
      const std::vector<TokenId> more = ids(1 + random() % 60);
      r.prompt.insert(r.prompt.end(), more.begin(), more.end());
      r.prompt.resize(std::min<size_t>(r.prompt.size(), 220));
      r.n = 1 + random() % (random() % 2 ? 12 : 36), r.seed = random(),
      r.arrives = random() % 20;  // some outgrow their pages
      r.priority = random() % 4 == 0 ? static_cast<int>(random() % 3) - 1 : 0;
      r.right = random() % 2 ? 0.7 : 0;
      r.mtp = random() % 2 != 0;
      r.prompt_logits = r.seed % 6 == 0;
      r.adapter = random() % (kAdapters + 2) % (kAdapters + 1);
      if (random() % 5 == 0) r.cancel_after = random() % 40;
      run_alone(r);
    }
    return out;
  }

  void run_schedule(uint64_t seed) {
    SCOPED_TRACE(cat("FATHOM_SCHEDULES=1 FATHOM_FIRST_SEED=", seed));
    std::mt19937_64 random(seed);
    const std::vector<Request> requests = random_requests(random);
    const size_t which = random() % kEngines;
    Engine& engine = *engines_[which];
    engine.prefixes().clear();
    Scheduler scheduler(engine, {.share_prefixes = random() % 5 != 0});
    std::vector<std::unique_ptr<Sequence>> running(requests.size());
    for (size_t step = 0; step < 25 || !scheduler.idle(); ++step) {
      ASSERT_LT(step, 20000u) << "it comes to an end";
      for (size_t i = 0; i < requests.size(); ++i) {
        if (requests[i].arrives == step) {
          running[i] = std::make_unique<Sequence>(engine, requests[i], seed + i, adapters_[which][requests[i].adapter]);
          scheduler.add(*running[i]);
        }
      }
      for (const auto& sequence : running)
        if (sequence) sequence->begin_step();
      bool left = false;
      const size_t stopped = scheduler.stats().stopped_forwards;
      scheduler.step(
          [&] { left = std::ranges::any_of(running, [](const auto& s) { return s && s->left_while_computing(); }); });
      if (left && scheduler.stats().stopped_forwards == stopped) ++left_;
      for (const auto& sequence : running)
        if (sequence && sequence->done()) sequence->session().release();
    }
    for (size_t i = 0; i < requests.size(); ++i) {
      SCOPED_TRACE(cat("request ", i));
      running[i]->expect_as_alone();
    }
    EXPECT_EQ(engine.pool().used_pages(), engine.prefixes().pages()) << "nothing is lost";
    preemptions_ += scheduler.stats().preemptions, stopped_ += scheduler.stats().stopped_forwards;
    shared_ += scheduler.stats().shared_positions;
  }

  testing::TempDir folder_;
  std::vector<std::unique_ptr<Engine>> alone_;  // by adapter
  std::vector<std::unique_ptr<Engine>> engines_;
  std::vector<std::vector<std::shared_ptr<const SequenceAdapter>>> adapters_;  // of each engine
  size_t preemptions_ = 0, stopped_ = 0, left_ = 0, shared_ = 0;
};

TEST_P(Schedules, EqualEachSequenceAlone) {
  const size_t n = from_environment("FATHOM_SCHEDULES", 120), first = from_environment("FATHOM_FIRST_SEED", 1);
  for (uint64_t seed = first; seed < first + n && !HasFailure(); ++seed) run_schedule(seed);
  if (n < 50) return;
  EXPECT_GT(preemptions_, n / 20) << "the schedules are hard enough";
  EXPECT_GT(stopped_, n / 20);
  EXPECT_GT(left_, n / 20) << "some go in the middle of a step that goes on for others";
  EXPECT_GT(shared_, n * 10);
}
INSTANTIATE_TEST_SUITE_P(Models, Schedules, ::testing::Values("qwen2", "v3"),
                         [](const auto& param) { return std::string(param.param); });

}  // namespace
}  // namespace fathom
