#include <gtest/gtest.h>

#include <cmath>
#include <fstream>

#include "server/api/api_testing.h"
#include "server/app/answer_energy.h"
#include "server/app/answer_info.h"
#include "server/app/answer_tokens.h"
#include "server/app/chat_store.h"
#include "server/app/live_answer.h"
#include "tests/testing.h"
#include "text/utf8.h"

namespace fathom {
namespace {

constexpr TokenId kHi = 256, kThere = 257, kPart = 258, kEnd = 259, kUnused = 260;

/// The bytes, and behind them "Hi", " there\n", the beginning of a character, a sign and an unused row.
Tokenizer small_tokenizer() {
  TokenizerSpec spec;
  spec.pre = "gpt-2";
  char32_t next = 0x100;
  for (char32_t b = 0; b < 256; ++b) {
    const bool prints = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
    append_utf8(spec.tokens.emplace_back(), prints ? b : next++);
    spec.kinds.push_back(TokenKind::kNormal);
  }
  for (const char* text : {"Hi", " there\n", "\xF0\x9F", "<end>", ""}) {
    spec.tokens.emplace_back(text);
    spec.kinds.push_back(TokenKind::kUserDefined);
  }
  spec.kinds[kEnd] = TokenKind::kControl, spec.kinds[kUnused] = TokenKind::kUnused;
  return Tokenizer(std::move(spec));
}

TEST(AnswerInsight, TokensComeBackAsTheyWere) {
  const Tokenizer tokenizer = small_tokenizer();
  AnswerTokens tokens;
  EXPECT_EQ(tokens.packed(), "");
  tokens.add(tokenizer, kHi, {{kHi, -0.0004F}, {{kHi, -0.0004F}, {kThere, -9.3F}}}, AnswerTokens::kThinking);
  tokens.add(tokenizer, kPart, {{kPart, -3.14159F}, {{kThere, -0.25F}, {kEnd, -2.5F}, {kPart, -3.14159F}}},
             AnswerTokens::kForced);
  tokens.add(tokenizer, kEnd, {{kEnd, -INFINITY}, {}}, 0);
  tokens.add(tokenizer, 700, {{700, -1}, {{kUnused, -1}}}, 0);  // a row of the model that no token has
  EXPECT_EQ(tokens.count(), 4u);
  const json::object got = answer_tokens_json(tokens.packed());
  EXPECT_EQ(got, parse_json(R"({"total": 4, "texts": ["Hi", [240, 159], " there\n", "<end>", "", ""], "tokens": [
      [1, 0, 0.0, 0, 0.0], [2, 1, -3.142, 2, -0.25, 3, -2.5, 1, -3.142], [4, 3, -100.0], [0, 4, -1.0, 5, -1.0]]})",
                            "what is expected")
                     .as_object())
      << to_json(got);
  EXPECT_TRUE(answer_tokens_json("").at("tokens").as_array().empty());
}

TEST(AnswerInsight, OfLongAnswersTheFirstTokensAreKept) {
  const Tokenizer tokenizer = small_tokenizer();
  AnswerTokens tokens;
  for (size_t i = 0; i < AnswerTokens::kMost + 7; ++i)
    tokens.add(tokenizer, kHi, {{kHi, -1}, {{kHi, -1}, {kThere, -2}}}, 0);
  const std::string packed = tokens.packed();
  EXPECT_LT(packed.size(), AnswerTokens::kMost * 12);
  const json::object got = answer_tokens_json(packed);
  EXPECT_EQ(got.at("total").to_number<size_t>(), AnswerTokens::kMost + 7);
  EXPECT_EQ(got.at("tokens").as_array().size(), AnswerTokens::kMost);
}

TEST(AnswerInsight, DamagedTokensAreRefused) {
  const Tokenizer tokenizer = small_tokenizer();
  AnswerTokens tokens;
  for (const TokenId id : {kHi, kThere, kPart, kEnd})
    tokens.add(tokenizer, id, {{id, -1}, {{kThere, -2}, {id, -3}}}, 0);
  const std::string packed = tokens.packed();
  for (size_t size = 1; size < packed.size(); ++size)
    EXPECT_THROW(answer_tokens_json(packed.substr(0, size)), Error) << size;
  for (size_t at = 0; at < packed.size(); ++at)
    for (const unsigned flip : {1U, 0x40U, 0x80U, 0xFFU}) {
      std::string changed = packed;
      changed[at] = static_cast<char>(static_cast<unsigned char>(changed[at]) ^ flip);
      try {
        answer_tokens_json(changed);  // some are other tokens
      } catch (const Error&) {
      }
    }
}

TEST(AnswerInsight, TheStoreKeepsTokensWithTheirMessage) {
  ChatStore store(std::make_shared<Database>(":memory:"));
  const AppChat chat = store.create({});
  AppMessage question;
  question.chat = chat.id, question.role = "user";
  question = store.add(question);
  AppMessage answer;
  answer.chat = chat.id, answer.parent = question.id, answer.role = "assistant", answer.status = "running";
  answer = store.add(answer);
  EXPECT_EQ(store.tokens(answer.id), "");
  answer.status = "done", answer.tokens = std::string("\x01\0any\xFF bytes", 12);
  ASSERT_TRUE(store.finish(answer));
  EXPECT_EQ(store.tokens(answer.id), answer.tokens);
  EXPECT_EQ(store.message(answer.id).tokens, "") << "they are given apart";
  EXPECT_EQ(store.tokens(question.id), "");
  store.remove_message(question.id);
  EXPECT_THROW(store.tokens(answer.id), ApiError);
}

TEST(AnswerInsight, EnergyIsSharedByTokens) {
  const testing::TempDir dir;
  const auto counter = [&](uint64_t uj) {
    const auto zone = dir.path() / "intel-rapl:0";
    std::filesystem::create_directories(zone);
    std::ofstream(zone / "name") << "package-0\n";
    std::ofstream(zone / "max_energy_range_uj") << 1'000'000'000 << "\n";
    std::ofstream(zone / "energy_uj") << uj << "\n";
  };
  counter(0);
  Metrics metrics;
  AnswerEnergy energy(metrics, dir.path());
  AnswerMeter first(metrics.of("a"), Operation::kChat), second(metrics.of("b"), Operation::kChat);
  first.prompt(64);
  const AnswerEnergy::Mark begin = energy.mark();
  Answer answer;
  answer.stats.prompt_tokens = 40, answer.stats.cached_tokens = 10, answer.stats.new_tokens = 30;
  second.prompt(20);
  for (int i = 0; i < 25; ++i) second.token();  // of the last ones and of the prompt's last part the end tells
  second.done(answer);
  first.prompt(64 + 100);
  for (int i = 0; i < 80; ++i) first.token();
  counter(12'000'000);
  const AnswerEnergy::Share share = energy.since(begin, 30 + 30);
  EXPECT_DOUBLE_EQ(share.part, 60.0 / (60 + 180));
  EXPECT_DOUBLE_EQ(share.joules, 3);
  EXPECT_EQ(share.source, "counter (package-0)");
  EXPECT_EQ(energy.since(energy.mark(), 0).part, 1) << "nobody computed anything";
}

TEST(AnswerInsight, PromptsAreToldToThoseWhoWatch) {
  AppMessage begun;
  begun.role = "assistant", begun.status = "running";
  LiveAnswer answer(begun);
  const auto early = std::make_shared<testing::RecordedAnswer>(), late = std::make_shared<testing::RecordedAnswer>(),
             later = std::make_shared<testing::RecordedAnswer>();
  answer.attach(early, 0);
  answer.prompt(512, 1500);
  answer.prompt(1024, 1500);
  answer.attach(late, 0);
  answer.add_text("Hi");
  answer.attach(later, 0);
  const std::string first = "data: {\"type\":\"prompt\",\"done\":512,\"total\":1500}\n\n",
                    second = "data: {\"type\":\"prompt\",\"done\":1024,\"total\":1500}\n\n",
                    text = "id: 2\ndata: {\"type\":\"text\",\"text\":\"Hi\"}\n\n";
  EXPECT_EQ(early->body, first + second + text);
  EXPECT_EQ(late->body, second + text);
  EXPECT_EQ(later->body, text);
}

TEST(AnswerInsight, FilesBringNoNumbersThatAreNone) {
  size_t left_out = 0;
  const json::object info =
      parse_json(R"({"prompt_tokens": 5, "cached_tokens": null, "thinking_tokens": -1, "total_ms": 1.5, "seed": 1.5,
                     "settings": {"top_p": 7}, "profile": {}, "model_file": "m", "other": 1, "budget_spent": 0})",
                 "a file")
          .as_object();
  EXPECT_EQ(to_json(checked_info(info, left_out)), R"({"prompt_tokens":5,"total_ms":1.5,"model_file":"m"})");
  EXPECT_EQ(left_out, 6u);
}

}  // namespace
}  // namespace fathom
