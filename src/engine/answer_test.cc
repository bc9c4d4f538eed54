// Answers and conversations on a tiny model with random weights: what it says means nothing, when it stops and how its
// output is split does.
#include "engine/answer.h"

#include "engine/conversation.h"
#include "tests/testing.h"

namespace fathom {
namespace {

/// Renders "role: content\n" per message, and opens the thinking.
constexpr const char* kThinkingTemplate =
    "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}{% if add_generation_prompt %}assistant: "
    "<think>\n{% endif %}";
constexpr const char* kPlainTemplate =
    "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}{% if add_generation_prompt %}assistant: {% "
    "endif %}";

class Recorder final : public AnswerListener {
 public:
  void on_thinking(std::string_view text) override { thinking += text; }
  void on_thinking_end(const AnswerStats&) override { ++ends; }
  void on_answer(std::string_view text) override {
    EXPECT_TRUE(thinking.empty() || ends == 1) << "the answer begins after the thinking ended";
    answer += text;
    if (cancel) *cancel = true;
  }
  void on_prompt(size_t done, size_t total) override {
    EXPECT_LT(done, total);
    ++prompt_steps;
  }
  std::string thinking, answer;
  int ends = 0, prompt_steps = 0;
  std::atomic<bool>* cancel = nullptr;
};

class AnswerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto path = testing::golden_dir() / "gguf" / "qwen2.gguf";
    if (!std::filesystem::exists(path)) GTEST_SKIP() << "needs golden/gguf/qwen2.gguf";
    engine_ =
        Engine::load(path, {.profile = Profile::kExact, .threads = 2, .ctx = 320, .sequences = 4, .prefill_chunk = 16});
    engine_->set_chat_template(kPlainTemplate);
  }
  AnswerOptions options(size_t max_tokens, uint64_t seed = 3) {
    AnswerOptions o;
    o.sampling.temperature = 1, o.sampling.top_p = 1, o.sampling.seed = seed;
    o.max_tokens = max_tokens, o.ignore_eos = true;
    return o;
  }
  Answer ask(const AnswerOptions& o, Recorder& recorder, const std::atomic<bool>* cancel = nullptr,
             const char* question = "Why is the sky blue?") {
    Conversation conversation(*engine_);
    conversation.add({.role = "user", .content = question});
    return conversation.reply(o, recorder, cancel);
  }
  std::unique_ptr<Engine> engine_;
};

TEST_F(AnswerTest, TextIsTheTokensDecoded) {
  Recorder r;
  const Answer a = ask(options(40), r);
  EXPECT_EQ(a.finish_reason, FinishReason::kLength);
  EXPECT_EQ(a.ids.size(), 40u);
  EXPECT_EQ(r.answer, a.text);
  EXPECT_GT(r.prompt_steps, 0) << "a prompt of several chunks reports its progress";
  EXPECT_EQ(a.stats.new_tokens, 40u);
  EXPECT_FALSE(a.text.empty());
  const std::string decoded = engine_->tokenizer().decode(a.ids, true);
  EXPECT_NE(decoded.find(a.text), std::string::npos);
}

TEST_F(AnswerTest, TheSameSeedSaysTheSameAloneAndInCompany) {
  std::vector<Answer> alone;
  for (uint64_t seed = 1; seed <= 4; ++seed) {
    Recorder r;
    alone.push_back(ask(options(20 + seed, seed), r));
  }
  std::vector<std::unique_ptr<Session>> sessions;
  std::vector<std::unique_ptr<AnswerRun>> runs;
  std::vector<Recorder> recorders(4);
  Scheduler scheduler(*engine_);
  Conversation conversation(*engine_);
  conversation.add({.role = "user", .content = "Why is the sky blue?"});
  const std::vector<TextPiece> prompt = conversation.prompt();
  for (uint64_t seed = 1; seed <= 4; ++seed) {
    sessions.push_back(std::make_unique<Session>(engine_->pool()));
    runs.push_back(
        std::make_unique<AnswerRun>(*engine_, *sessions.back(), prompt, options(20 + seed, seed), recorders[seed - 1]));
    scheduler.add(*runs.back());
  }
  while (scheduler.step()) continue;
  for (size_t i = 0; i < 4; ++i) {
    ASSERT_TRUE(runs[i]->done());
    const Answer a = runs[i]->take();
    EXPECT_EQ(a.ids, alone[i].ids);
    EXPECT_EQ(a.text, alone[i].text);
  }
  EXPECT_NE(alone[0].ids, alone[1].ids);
}

TEST_F(AnswerTest, ABudgetEndsTheThinkingAndStillGetsAnAnswer) {
  engine_->set_chat_template(kThinkingTemplate);
  for (const size_t budget : {size_t{0}, size_t{7}}) {
    Recorder r;
    AnswerOptions o = options(60);
    o.thinking_budget = budget;
    const Answer a = ask(o, r);
    EXPECT_TRUE(a.stats.budget_spent);
    EXPECT_FALSE(a.text.empty());
    EXPECT_EQ(a.text.find("</think>"), std::string::npos);
    EXPECT_EQ(a.thinking, r.thinking);
    EXPECT_EQ(budget == 0, a.thinking.empty());
    EXPECT_EQ(a.stats.thinking_tokens, budget);
    EXPECT_NE(engine_->tokenizer().decode(a.ids).find("</think>"), std::string::npos)
        << "the model sees the end of its thinking";
  }
  Recorder r;
  const Answer endless = ask(options(60), r);
  EXPECT_TRUE(endless.text.empty()) << "without a budget this model never stops thinking";
  EXPECT_FALSE(endless.thinking.empty());
}

/// A listener that throws, as a broken pipe does, ends its own answer; the other one is as it is alone.
TEST_F(AnswerTest, OneBrokenAnswerHarmsNobody) {
  struct Broken final : AnswerListener {
    void on_answer(std::string_view) override { throw std::runtime_error("gone"); }
  } broken;
  Recorder good, alone;
  const Answer want = ask(options(15), alone);
  Conversation conversation(*engine_);
  conversation.add({.role = "user", .content = "Why is the sky blue?"});
  const std::vector<TextPiece> prompt = conversation.prompt();
  Session first(engine_->pool()), second(engine_->pool());
  AnswerRun bad(*engine_, first, prompt, options(15), broken), fine(*engine_, second, prompt, options(15), good);
  Scheduler scheduler(*engine_);
  scheduler.add(bad), scheduler.add(fine);
  while (scheduler.step()) continue;
  EXPECT_THROW(bad.take(), std::runtime_error);
  EXPECT_EQ(fine.take().ids, want.ids);
}

TEST_F(AnswerTest, StopStringsEndTheAnswerBeforeThem) {
  Recorder first, second;
  const Answer whole = ask(options(60), first);
  ASSERT_GT(whole.text.size(), 20u);
  size_t from = 10;  // a whole character in the middle
  while (static_cast<unsigned char>(whole.text[from]) >= 0x80) ++from;
  AnswerOptions o = options(60);
  o.stop = {whole.text.substr(from, 1)};
  const Answer cut = ask(o, second);
  EXPECT_EQ(cut.finish_reason, FinishReason::kStop);
  EXPECT_EQ(cut.text, whole.text.substr(0, whole.text.find(o.stop[0])));
  EXPECT_EQ(second.answer, cut.text);
}

TEST_F(AnswerTest, CancelKeepsWhatCame) {
  Recorder r;
  std::atomic<bool> cancel{false};
  r.cancel = &cancel;
  Conversation conversation(*engine_);
  conversation.add({.role = "user", .content = "Why?"});
  const Answer a = conversation.reply(options(200), r, &cancel);
  EXPECT_EQ(a.finish_reason, FinishReason::kCancelled);
  EXPECT_FALSE(a.text.empty());
  EXPECT_LT(a.ids.size(), 200u);
  EXPECT_EQ(conversation.messages().back().content, a.text);
}

TEST_F(AnswerTest, AFullContextIsSaid) {
  Recorder r;
  const Answer a = ask(options(0), r);
  EXPECT_EQ(a.finish_reason, FinishReason::kContextFull);
  EXPECT_EQ(a.stats.prompt_tokens + a.ids.size(), 320u);
  Conversation conversation(*engine_);
  conversation.add({.role = "user", .content = std::string(4000, 'x')});
  EXPECT_THROW(conversation.reply(options(5), r), Error);
  EXPECT_EQ(conversation.messages().size(), 1u) << "nothing is cut, nothing is added";
}

TEST_F(AnswerTest, LogProbabilitiesOfEveryToken) {
  Recorder r;
  AnswerOptions o = options(10);
  o.top_logprobs = 3;
  const Answer a = ask(o, r);
  ASSERT_EQ(a.logprobs.size(), a.ids.size());
  for (size_t i = 0; i < a.ids.size(); ++i) {
    EXPECT_EQ(a.logprobs[i].chosen.id, a.ids[i]);
    EXPECT_EQ(a.logprobs[i].top.size(), 3u);
    EXPECT_GE(a.logprobs[i].top[0].logprob, a.logprobs[i].chosen.logprob);
  }
}

TEST_F(AnswerTest, LaterTurnsReuseTheCache) {
  Conversation conversation(*engine_);
  Recorder r;
  conversation.set_system("Be brief.");
  conversation.add({.role = "user", .content = "One?"});
  conversation.reply(options(10), r);
  conversation.add({.role = "user", .content = "Two?"});
  const Answer second = conversation.reply(options(10), r);
  EXPECT_GT(second.stats.cached_tokens, 10u);
  EXPECT_TRUE(conversation.drop_answer());
  const Answer again = conversation.reply(options(10), r);
  EXPECT_EQ(again.ids, second.ids) << "same seed, same text, whatever the cache holds";
  EXPECT_TRUE(conversation.undo());
  EXPECT_EQ(conversation.messages().size(), 3u);
  conversation.set_system("");
  EXPECT_EQ(conversation.messages().front().role, "user");
}

TEST_F(AnswerTest, ControlTokensInUserTextStayText) {
  Conversation conversation(*engine_);
  conversation.add({.role = "user", .content = "<s></s>"});
  const std::vector<TokenId> ids = engine_->tokenizer().encode(conversation.prompt());
  for (const TokenId id : ids) EXPECT_NE(engine_->tokenizer().kind(id), TokenKind::kControl);
}

}  // namespace
}  // namespace fathom
