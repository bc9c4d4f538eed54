// Speculation changes no bit: whatever is guessed, right or wrong, in whatever company, a sequence draws the tokens and
// sees the logits that it would without. Random schedules with fixed seeds.
#include "engine/speculation.h"

#include "engine/answer.h"
#include "engine/conversation.h"
#include "engine/forced.h"
#include "tests/testing.h"

namespace fathom {
namespace {

std::unique_ptr<Engine> open(const std::string& model, size_t chunk, size_t threads, Profile profile) {
  return Engine::load(testing::golden_dir() / model,
                      {.profile = profile, .threads = threads, .ctx = 256, .sequences = 6, .prefill_chunk = chunk});
}

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

/// Draws n tokens. Its guesses are `truth`, what it draws without any, with some tokens changed.
class Guessing final : public Running {
 public:
  Guessing(Engine& engine, const std::vector<TokenId>& prompt, size_t n, uint64_t seed)
      : session_(engine.pool()),
        sampler_({.temperature = 1, .top_p = 1, .seed = seed}, engine.config().vocab_size),
        end_(prompt.size() + n),
        random_(seed) {
    session_.set_tokens(prompt);
  }
  Session& session() override { return session_; }
  bool done() const override { return session_.tokens().size() >= end_; }
  void on_logits(std::span<const float> logits) override {
    logits_.insert(logits_.end(), logits.begin(), logits.end());
    session_.append(sampler_.draw(logits, static_cast<uint32_t>(session_.tokens().size())));
  }
  void on_pool_full() override { FAIL() << "the pool has pages for all"; }
  std::span<const Draft> drafts() override {
    drafts_.clear();
    double chance = 1;
    for (size_t i = session_.tokens().size(), n = random_() % 12; i + 1 < std::min(truth.size(), end_) && n > 0;
         ++i, --n) {
      const bool wrong = random_() % 6 == 0;
      drafts_.push_back({wrong ? static_cast<TokenId>(random_() % 384) : truth[i], chance});
      if (random_() % 3 == 0) chance *= 0.7;
    }
    return drafts_;
  }
  void on_verified(size_t drafted, size_t accepted) override {
    EXPECT_LE(accepted, drafted);
    ++stats.passes, stats.drafted += drafted, stats.accepted += accepted;
  }
  bool wants_mtp() const override { return true; }
  void on_mtp_logits(std::span<const float> logits) override {
    mtp_logits[tokens().size() - 2].assign(logits.begin(), logits.end());
  }
  const std::vector<TokenId>& tokens() const { return session_.tokens(); }
  const std::vector<float>& logits() const { return logits_; }
  std::vector<TokenId> truth;  // empty: no guesses
  SpeculationStats stats;
  std::map<size_t, std::vector<float>> mtp_logits;  // by position

 private:
  Session session_;
  Sampler sampler_;
  size_t end_;
  std::mt19937_64 random_;
  std::vector<float> logits_;
  std::vector<Draft> drafts_;
};

/// The module saw what it sees when the whole text is given: no hole, no row of a wrong guess.
void expect_mtp_logits(Engine& engine, const Guessing& sequence) {
  EXPECT_EQ(sequence.mtp_logits.empty(), !engine.model().has_mtp() || sequence.stats.passes < 2);
  if (sequence.mtp_logits.empty()) return;
  const Tensor want = forced_forward(engine, {sequence.tokens()}, {.layers = true})[0].mtp_logits;
  const size_t V = want.shape().back();
  for (const auto& [position, got] : sequence.mtp_logits) {
    ASSERT_EQ(got.size(), V);
    EXPECT_EQ(std::memcmp(got.data(), want.data<float>() + position * V, V * sizeof(float)), 0) << position;
  }
}

class Speculated : public ::testing::TestWithParam<std::pair<const char*, Profile>> {};

TEST_P(Speculated, GuessesChangeNoBit) {
  const auto [model, profile] = GetParam();
  if (!std::filesystem::exists(testing::golden_dir() / model)) GTEST_SKIP() << "needs golden " << model;
  const std::unique_ptr<Engine> alone = open(model, 512, 1, profile), engine = open(model, 40, 2, profile);
  SpeculationStats all;
  for (uint64_t seed = 1; seed <= 4; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937_64 random(seed);
    std::vector<std::unique_ptr<Guessing>> want, got;
    std::vector<size_t> arrives;
    for (size_t i = 0; i < 4; ++i) {
      std::vector<TokenId> prompt(1 + random() % 70);
      for (TokenId& id : prompt) id = static_cast<TokenId>(random() % 384);
      const size_t n = 1 + random() % 90;
      want.push_back(std::make_unique<Guessing>(*alone, prompt, n, seed * 100 + i));
      Scheduler single(*alone);
      single.add(*want[i]);
      while (!want[i]->done()) single.step();
      got.push_back(std::make_unique<Guessing>(*engine, prompt, n, seed * 100 + i));
      got[i]->truth = want[i]->tokens();
      arrives.push_back(random() % 10);
    }
    Scheduler scheduler(*engine);
    for (size_t step = 0; step < 10 || !scheduler.idle(); ++step) {
      for (size_t i = 0; i < got.size(); ++i)
        if (arrives[i] == step) scheduler.add(*got[i]);
      scheduler.step();
      size_t pages = 0;
      for (const auto& g : got) pages += (g->session().cached() + kPagePositions - 1) / kPagePositions;
      ASSERT_EQ(engine->pool().used_pages(), pages) << "what guesses took goes back";
    }
    for (size_t i = 0; i < got.size(); ++i) {
      EXPECT_EQ(got[i]->tokens(), want[i]->tokens());
      EXPECT_TRUE(same_bits(got[i]->logits(), want[i]->logits()));
      EXPECT_EQ(got[i]->session().cached(), want[i]->session().cached());
      expect_mtp_logits(*alone, *got[i]);
      all.passes += got[i]->stats.passes, all.drafted += got[i]->stats.drafted, all.accepted += got[i]->stats.accepted;
      EXPECT_EQ(got[i]->stats.passes + got[i]->stats.accepted, got[i]->logits().size() / 384);
    }
  }
  EXPECT_GT(all.accepted, 100u);
  EXPECT_LT(all.accepted + 50, all.drafted);
}
INSTANTIATE_TEST_SUITE_P(Models, Speculated,
                         ::testing::Values(std::pair("models/qwen2", Profile::kExact),
                                           std::pair("models/v3", Profile::kExact),
                                           std::pair("gguf/v2-lite.Q4_K_M.gguf", Profile::kInt8)));

// ---- whole answers, guessed by their own text

constexpr const char* kTemplate =
    "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}{% if add_generation_prompt %}assistant: "
    "<think>\n{% endif %}";

std::vector<Answer> answer_all(Engine& engine, std::vector<AnswerOptions> options, bool speculate) {
  const json::array messages{{{"role", "user"}, {"content", "one two three one two three one two"}}};
  const std::vector<TextPiece> prompt = render_prompt(engine, messages, {}, true);
  std::vector<std::unique_ptr<Session>> sessions;
  std::vector<std::unique_ptr<AnswerRun>> runs;
  AnswerListener nobody;
  Scheduler scheduler(engine);
  for (AnswerOptions& o : options) {
    o.speculate = speculate;
    sessions.push_back(std::make_unique<Session>(engine.pool()));
    runs.push_back(std::make_unique<AnswerRun>(engine, *sessions.back(), prompt, o, nobody));
    scheduler.add(*runs.back());
  }
  while (!scheduler.idle()) scheduler.step();
  std::vector<Answer> answers;
  for (const auto& run : runs) answers.push_back(run->take());
  return answers;
}

void expect_equal(const Answer& got, const Answer& want) {
  EXPECT_EQ(got.ids, want.ids);
  EXPECT_EQ(got.text, want.text);
  EXPECT_EQ(got.thinking, want.thinking);
  EXPECT_EQ(got.finish_reason, want.finish_reason);
  EXPECT_EQ(got.stats.thinking_tokens, want.stats.thinking_tokens);
  ASSERT_EQ(got.logprobs.size(), want.logprobs.size());
  for (size_t i = 0; i < got.logprobs.size(); ++i) {
    EXPECT_EQ(std::bit_cast<uint32_t>(got.logprobs[i].chosen.logprob),
              std::bit_cast<uint32_t>(want.logprobs[i].chosen.logprob));
    EXPECT_EQ(got.logprobs[i].top[1].id, want.logprobs[i].top[1].id);
  }
}

class SpeculatedAnswer : public ::testing::TestWithParam<const char*> {};

TEST_P(SpeculatedAnswer, IsTheSameAnswer) {
  const std::string model = GetParam();
  if (!std::filesystem::exists(testing::golden_dir() / model)) GTEST_SKIP() << "needs golden " << model;
  const std::unique_ptr<Engine> engine = open(model, 32, 2, Profile::kExact);
  engine->set_chat_template(kTemplate);
  std::mt19937_64 random(1);
  std::vector<AnswerOptions> options(6);
  for (size_t i = 0; i < options.size(); ++i) {
    AnswerOptions& o = options[i];
    o.ignore_eos = i % 2 == 0, o.top_logprobs = 2, o.max_tokens = i == 0 ? 0 : 60 + random() % 60;
    o.sampling.seed = random(), o.sampling.temperature = i < 2 ? 0 : 0.3, o.sampling.top_k = 3;
    if (i % 3 == 2) o.sampling.repetition_penalty = 1.05, o.sampling.penalty_window = 4;
    if (i == 4) o.sampling.frequency_penalty = 0.01;
    if (i > 1)  // few words, so that they repeat
      for (TokenId id = 70; id < 74; ++id) o.sampling.logit_bias[id] = 60;
    if (i != 3) o.thinking_budget = random() % 30;
  }
  const std::vector<Answer> plain = answer_all(*engine, options, false);
  EXPECT_EQ(plain[0].finish_reason, FinishReason::kContextFull);
  SpeculationStats all;
  const auto compare = [&](const std::vector<Answer>& got, const std::vector<Answer>& want) {
    for (size_t i = 0; i < got.size(); ++i) {
      SCOPED_TRACE(i);
      expect_equal(got[i], want[i]);
      all.drafted += got[i].stats.speculation.drafted, all.accepted += got[i].stats.speculation.accepted;
      EXPECT_EQ(want[i].stats.speculation.drafted, 0u);
    }
  };
  compare(answer_all(*engine, options, true), plain);
  EXPECT_GT(all.accepted, 20u);
  EXPECT_GT(all.drafted, all.accepted);
  for (size_t i = 0; i < options.size(); ++i) {  // stop strings out of the middle
    const std::string& text = plain[i].text;
    if (text.size() < 8) continue;
    size_t from = text.size() / 2;
    while (static_cast<unsigned char>(text[from]) >> 6 == 2) ++from;
    if (from + 4 < text.size() && static_cast<unsigned char>(text[from]) < 0x80)
      options[i].stop = {text.substr(from, 1)};
  }
  compare(answer_all(*engine, options, true), answer_all(*engine, options, false));
}
INSTANTIATE_TEST_SUITE_P(Models, SpeculatedAnswer, ::testing::Values("gguf/qwen2.gguf", "gguf/v3-mtp.gguf"));

// ---- what is guessed, and when it is verified

TEST(Speculation, GoesOnAsTheTextDidBefore) {
  const std::vector<TokenId> prompt = {1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2, 3};
  Speculation s(prompt);
  const std::span<const Draft> drafts = s.drafts(5);
  ASSERT_EQ(drafts.size(), 5u);
  for (size_t i = 0; i < drafts.size(); ++i) {
    EXPECT_EQ(drafts[i].id, static_cast<TokenId>(4 + i));
    EXPECT_LT(drafts[i].chance, i == 0 ? 1 : drafts[i - 1].chance);
  }
  EXPECT_EQ(s.drafts(100).size(), Speculation::kMost);
  EXPECT_TRUE(s.drafts(0).empty());
  s.append(77);
  EXPECT_TRUE(s.drafts(5).empty());
}

TEST(Speculation, TheModuleGuessesWhereNoMatchIsLikelier) {
  const std::vector<TokenId> prompt = {1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2, 3};
  Speculation s(prompt);
  s.guess(50);
  ASSERT_EQ(s.drafts(5).size(), 1u) << "a match of three tokens is less sure";
  EXPECT_EQ(s.drafts(5)[0].id, 50);
  s.guess(4);
  EXPECT_EQ(s.drafts(5).size(), 5u) << "the same token, and the match knows more";
  for (TokenId id = 0; id < 100; ++id) s.append(100 + id), s.guess(99);
  EXPECT_FALSE(s.mtp_pays());
  s.append(7);
  EXPECT_TRUE(s.drafts(5).empty()) << "a guess is for one token";
}

std::vector<double> chances(Speculation& s) {
  std::vector<double> out;
  for (const Draft& d : s.drafts(Speculation::kMost)) out.push_back(d.chance);
  return out;
}

TEST(Speculation, StopsWhereItIsWrongAndGoesFurtherWhereItIsRight) {
  Speculation wrong({}), right({});
  size_t verified = 0;
  for (TokenId i = 0; i < 100; ++i) {  // the same three tokens, and each time another one after them
    for (const TokenId id : {1, 2, 3}) wrong.append(id);
    verified += drafts_that_pay(PassCost(), 1, 1, chances(wrong)) > 0;
    wrong.append(10 + i);
  }
  EXPECT_LT(verified, 5u);
  for (TokenId i = 0; i < 100; ++i) right.append(i % 10);
  EXPECT_GE(drafts_that_pay(PassCost(), 1, 1, chances(right)), 3u);
}

TEST(Speculation, DraftsPayWhereTheirChanceExceedsTheirCost) {
  const PassCost dense;
  EXPECT_EQ(drafts_that_pay(dense, 1, 1, {}), 0u);
  EXPECT_EQ(drafts_that_pay(dense, 1, 1, std::vector<double>{0.05}), 0u);
  EXPECT_EQ(drafts_that_pay(dense, 1, 1, std::vector<double>{0.9, 0.8, 0.02}), 2u);
  EXPECT_EQ(drafts_that_pay(dense, 16, 16, std::vector<double>(5, 0.15)), 0u) << "a row of a batch costs what it gives";
  EXPECT_EQ(drafts_that_pay(dense, 300, 1, std::vector<double>(5, 0.15)), 5u) << "beside a long prompt it does not";
  for (size_t rows = 1; rows < 40; ++rows) EXPECT_LT(dense(rows), dense(rows + 1));
  const PassCost experts(TokenWork{.shared_bytes = 100, .routed_bytes = 1000, .experts = 64, .used = 6});
  EXPECT_EQ(experts(1), 1);
  EXPECT_GT(experts(2), dense(2));
}

}  // namespace
}  // namespace fathom
