// GrammarMatcher's masks against what accept() says of every token, rollback by copies, forced text.
#include "sampling/grammar/grammar_matcher.h"

#include "base/error.h"
#include "sampling/grammar/grammar_fixture.h"
#include "sampling/grammar/json_schema.h"
#include "tests/precompiled.h"
#include "tests/testing.h"

namespace fathom {
namespace {

constexpr TokenId kEnd = 0;

/// Every byte, and strings of the bytes that grammars are made of, some of them twice.
std::vector<std::string> made_vocabulary(uint64_t seed) {
  std::vector<std::string> tokens{"<end>"};
  for (int byte = 0; byte < 256; ++byte) tokens.emplace_back(1, static_cast<char>(byte));
  std::mt19937_64 random(seed);
  const std::vector<std::string> parts{"{",  "}",   "[",      "]",        "\"", ",", ":", " ",    "\n",
                                       "a",  "b",   "0",      "1",        "-",  ".", "e", "true", "null",
                                       "\\", "u00", "\u00e9", "\xf0\x9f", "(",  ")", "=", "+"};
  while (tokens.size() < 1500) {
    std::string token;
    for (size_t n = 1 + random() % 4; n > 0; --n) token += parts[random() % parts.size()];
    tokens.push_back(token);
  }
  tokens.emplace_back();
  return tokens;
}

TokenTrie trie_of(const std::vector<std::string>& tokens) {
  std::vector<std::string_view> views(tokens.begin(), tokens.end());
  views[kEnd] = {};
  return TokenTrie(views, std::vector<TokenId>{kEnd});
}

/// Compares the mask with accept() for every token. Returns the ids that are allowed.
std::vector<TokenId> expect_exact_mask(const GrammarMatcher& matcher, const TokenTrie& trie,
                                       const std::vector<std::string>& tokens) {
  std::vector<uint64_t> words;
  const TokenMask mask = matcher.mask(trie, words);
  std::vector<TokenId> allowed;
  size_t wrong = 0;
  for (size_t id = 0; id < tokens.size(); ++id) {
    const bool end = id == kEnd;
    const bool want = end ? matcher.may_finish() : !tokens[id].empty() && GrammarMatcher(matcher).accept(tokens[id]);
    if (mask.allows(id) != want && ++wrong < 5) ADD_FAILURE() << "token " << id << " '" << tokens[id] << "' " << want;
    if (want && !end) allowed.push_back(static_cast<TokenId>(id));
  }
  return allowed;
}

const char* const kGrammars[] = {
    "root ::= \"{\" pair (\",\" pair)* \"}\"\npair ::= str \":\" (str | root | [0-9]+ | \"true\" | \"null\")\n"
    "str ::= \"\\\"\" ([^\"\\\\\\n] | \"\\\\\" [\"\\\\u])* \"\\\"\"",
    "root ::= (expr \"=\" expr \"\\n\"?)+\nexpr ::= term ([+-] term)*\nterm ::= [a-b]+ | [01]* \"(\" expr \")\"",
    "root ::= a a\na ::= \"a\"* b?\nb ::= \"b\"* | \"a\" b \"b\" | c\nc ::= \"a\" c a | \"(\"",
    "root ::= \"a\" | \"a\" root | \"a\" root root | \"a\" (root | x) x\nx ::= \"b\" | \"a\" x | \"(\" root \")\"",
    "root ::= . . (. | \"\u00e9\"*) root | \"\\n\""};

TEST(GrammarMatcher, MasksAreExactOnRandomWalks) {
  for (const uint64_t seed : {1, 2}) {
    const std::vector<std::string> tokens = made_vocabulary(seed);
    const TokenTrie trie = trie_of(tokens);
    std::mt19937_64 random(seed);
    std::vector<Grammar> grammars{json_grammar(), compile_regex("(a|b)*[01]{2,5}(e|\u00e9)+")};
    for (const char* text : kGrammars) grammars.push_back(parse_gbnf(text));
    for (const Grammar& grammar : grammars) {
      GrammarMatcher matcher(grammar);
      for (int i = 0; i < 25; ++i) {
        const std::vector<TokenId> allowed = expect_exact_mask(matcher, trie, tokens);
        if (allowed.empty()) break;
        ASSERT_TRUE(matcher.accept(tokens[static_cast<size_t>(allowed[random() % allowed.size()])]));
      }
    }
  }
}

// Chains of states, whose masks are made from each other's.
TEST(GrammarMatcher, MasksOfCountedTextsAreExact) {
  const std::vector<std::string> tokens = made_vocabulary(3);
  const TokenTrie trie = trie_of(tokens);
  std::mt19937_64 random(3);
  for (const char* schema :
       {R"({"type":"string","maxLength":30})", R"({"type":"array","items":{"type":"integer"},"maxItems":25})",
        R"({"type":"string","minLength":10,"maxLength":14})", R"s({"pattern":"^([ab]{2}[^c]){3,9}$"})s"}) {
    const Grammar grammar = compile_json_schema(parse_json(schema, "schema"));
    for (int round = 0; round < 2; ++round) {
      GrammarMatcher matcher(grammar);
      for (int i = 0; i < 30; ++i) {
        const std::vector<TokenId> allowed = expect_exact_mask(matcher, trie, tokens);
        if (allowed.empty()) break;
        ASSERT_TRUE(matcher.accept(tokens[static_cast<size_t>(allowed[random() % allowed.size()])]));
      }
    }
  }
}

TEST(GrammarMatcher, MasksAreExactWithARealVocabulary) {
  const testing::RealVocabulary* real = testing::real_vocabulary(testing::shared_path("data/tokenizers/qwen3"));
  if (!real) GTEST_SKIP() << "needs $FATHOM_SHARED/data/tokenizers/qwen3";
  const Tokenizer& tokenizer = real->tokenizer;
  const TokenTrie& trie = real->trie;
  GrammarMatcher matcher(json_grammar());
  std::vector<uint64_t> words;
  for (const std::string_view piece : {"{", "\"a \\", "u00e9 \xe4", "\xb8\xad\"", ": [1", ".5, {}]"}) {
    ASSERT_TRUE(matcher.accept(piece));
    const TokenMask mask = matcher.mask(trie, words);
    size_t wrong = 0;
    for (TokenId id = 0; static_cast<size_t>(id) < tokenizer.vocab_size(); ++id) {
      const bool text = tokenizer.kind(id) == TokenKind::kNormal || tokenizer.kind(id) == TokenKind::kUserDefined;
      const bool want = text && !tokenizer.is_end_of_generation(id) && !tokenizer.token_view(id).empty() &&
                        GrammarMatcher(matcher).accept(tokenizer.token_view(id));
      wrong += mask.allows(static_cast<size_t>(id)) != want;
    }
    EXPECT_EQ(wrong, 0u) << piece;
  }
}

TEST(GrammarMatcher, EndTokensAreAllowedWhereTheGrammarMayFinish) {
  const std::vector<std::string> tokens{"<end>", "a", "b", ""};
  const TokenTrie trie = trie_of(tokens);
  GrammarMatcher matcher(parse_gbnf("root ::= \"a\" \"b\"?"));
  std::vector<uint64_t> words;
  EXPECT_EQ(matcher.mask(trie, words).bits[0], 0b010u);
  ASSERT_TRUE(matcher.accept("a"));
  EXPECT_EQ(matcher.mask(trie, words).bits[0], 0b101u);
  EXPECT_TRUE(matcher.may_finish());
  EXPECT_FALSE(matcher.must_finish());
  ASSERT_TRUE(matcher.accept("b"));
  EXPECT_EQ(matcher.mask(trie, words).bits[0], 0b001u);
  EXPECT_TRUE(matcher.must_finish());
  EXPECT_FALSE(matcher.accept("b"));
  EXPECT_TRUE(matcher.accept(""));
}

TEST(GrammarMatcher, ARefusedTextChangesNothingAndCopiesAreApart) {
  GrammarMatcher matcher(json_grammar());
  ASSERT_TRUE(matcher.accept("{\"a\":[1,"));
  EXPECT_FALSE(matcher.accept("2, [3], }"));
  GrammarMatcher copy = matcher;
  EXPECT_TRUE(copy.accept("2]}"));
  EXPECT_TRUE(copy.must_finish());
  EXPECT_FALSE(matcher.may_finish());
  EXPECT_TRUE(matcher.accept("{\"b\":0}]}"));
}

TEST(GrammarMatcher, ForcedTextEndsWhereThereIsAChoice) {
  GrammarMatcher matcher(parse_gbnf("root ::= \"{\\\"name\\\": \" (\"true\" | \"tree\") (\"}\" | \"}}\") \"!\"?"));
  EXPECT_EQ(matcher.forced_bytes(), "{\"name\": tr");
  EXPECT_EQ(matcher.forced_bytes(3), "{\"n");
  ASSERT_TRUE(matcher.accept("{\"name\": tru"));
  EXPECT_EQ(matcher.forced_bytes(), "e}");
  ASSERT_TRUE(matcher.accept("e}"));
  EXPECT_EQ(matcher.forced_bytes(), "");
}

TEST(GrammarMatcher, MemoryOfALongTextStaysSmall) {
  GrammarMatcher matcher(json_grammar());
  ASSERT_TRUE(matcher.accept("{\"a\":["));
  for (int i = 0; i < 20000; ++i) ASSERT_TRUE(matcher.accept("[1, \"x\"], "));
  ASSERT_TRUE(matcher.accept("0]}"));
  EXPECT_LT(matcher.frames(), 1000u);
}

}  // namespace
}  // namespace fathom
