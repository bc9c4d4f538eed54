#include "sampling/grammar/grammar_cache.h"

#include <atomic>
#include <thread>

#include "base/error.h"
#include "sampling/grammar/grammar_matcher.h"
#include "tests/precompiled.h"

namespace fathom {
namespace {

TEST(GrammarCache, CompilesOnceAndForgetsTheLeastRecentlyUsed) {
  const size_t one = parse_gbnf("root ::= \"a\"").size_bytes();
  GrammarCache cache(4 * one + 2000);
  int made = 0;
  const auto get = [&](const std::string& source) {
    return cache.get(source, [&] { return ++made, parse_gbnf(source); });
  };
  get("root ::= \"a\"");
  get("root ::= \"a\"");
  EXPECT_EQ(made, 1);
  for (char c = 'b'; c <= 'z'; ++c) {
    get(cat("root ::= \"", c, "\""));
    get("root ::= \"a\"");  // in use
  }
  EXPECT_EQ(made, 26);
  EXPECT_LT(cache.size(), 10u);
  EXPECT_LE(cache.size_bytes(), 4 * one + 2000);
  get("root ::= \"b\"");
  EXPECT_EQ(made, 27);
}

TEST(GrammarCache, KeepsNothingThatFailsOrIsTooLarge) {
  GrammarCache cache(10);
  EXPECT_THROW(cache.get("x", [] { return parse_gbnf("x"); }), Error);
  const Grammar grammar = cache.get("y", [] { return json_grammar(); });
  EXPECT_TRUE(GrammarMatcher(grammar).accept("{}"));
  EXPECT_EQ(cache.size(), 0u);
}

TEST(GrammarCache, MasksThatGrowCountToo) {
  std::vector<std::string> bytes;
  for (int c = 0; c < 40000; ++c) bytes.push_back(cat("t", c));
  const std::vector<std::string_view> tokens(bytes.begin(), bytes.end());
  const TokenTrie trie(tokens, {});
  const std::string first = "root ::= [a-z0-9]* \"!\"", second = "root ::= [a-z0-9]* \"?\"";
  GrammarCache cache(parse_gbnf(first).size_bytes() + parse_gbnf(second).size_bytes() + 1000);
  std::vector<uint64_t> words;
  for (const std::string& source : {first, second})
    GrammarMatcher(cache.get(source, [&] { return parse_gbnf(source); })).mask(trie, words);
  EXPECT_GT(cache.size_bytes(), parse_gbnf(first).size_bytes() + parse_gbnf(second).size_bytes() + 1000);
  cache.get(second, [&] { return parse_gbnf(second); });
  EXPECT_LE(cache.size_bytes(), parse_gbnf(first).size_bytes() + parse_gbnf(second).size_bytes() + 1000);
}

TEST(GrammarCache, ThreadsShareGrammarsAndTheirMasks) {
  GrammarCache cache(size_t{1} << 20);
  std::vector<std::string> bytes;
  for (int c = 0; c < 256; ++c) bytes.emplace_back(1, static_cast<char>(c));
  const std::vector<std::string_view> tokens(bytes.begin(), bytes.end());
  const TokenTrie trie(tokens, {});
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      for (int i = 0; i < 50; ++i) {
        const std::string source = cat("root ::= \"", static_cast<char>('a' + (i + t) % 8), "\"* \"!\"");
        GrammarMatcher matcher(cache.get(source, [&] { return parse_gbnf(source); }));
        std::vector<uint64_t> words;
        if (!matcher.mask(trie, words).allows('!') || !matcher.accept("!")) ++wrong;
      }
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
  EXPECT_EQ(cache.size(), 8u);
}

}  // namespace
}  // namespace fathom
