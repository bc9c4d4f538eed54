// gbnf and json_schema: grammars from outside, followed at random.
#include <random>

#include "base/error.h"
#include "base/json.h"
#include "sampling/grammar/grammar_matcher.h"
#include "sampling/grammar/json_schema.h"
#include "tests/fuzz/support.h"
#include "tests/fuzz/targets.h"
#include "text/utf8.h"

namespace fathom::fuzz {
namespace {

const std::vector<std::string>& vocabulary() {
  static const std::vector<std::string> tokens = [] {
    std::vector<std::string> out;
    for (int byte = 0; byte < 256; ++byte) out.emplace_back(1, static_cast<char>(byte));
    for (const char* token :
         {"{\"", "\":",   "\",",          "\"}",      "}]", ", ", "\n  ", "true", "null", "12",  "aa",
          "ab",  "\\u00", "\u00e9\u4e2d", "\xf0\x9f", "[[", "]]", "0.5",  "()",   "\\\"", "a\"b"})
      out.emplace_back(token);
    return out;
  }();
  return tokens;
}

/// Walks along random allowed tokens. The mask must say of each token what accept() says, forced text must be taken,
/// and what is complete must be UTF-8, and JSON where `json` says so.
void follow(const Grammar& grammar, uint64_t seed, bool json) {
  static const TokenTrie trie = [] {
    const std::vector<std::string_view> views(vocabulary().begin(), vocabulary().end());
    return TokenTrie(views, {});
  }();
  std::mt19937_64 random(seed);
  GrammarMatcher matcher(grammar);
  std::vector<uint64_t> words;
  std::string text;
  for (int step = 0; step < 24 && !matcher.must_finish(); ++step) {
    const TokenMask mask = matcher.mask(trie, words);
    std::vector<size_t> allowed;
    for (size_t id = 0; id < vocabulary().size(); ++id) {
      if (mask.allows(id)) allowed.push_back(id);
      if (step < 6) check(mask.allows(id) == GrammarMatcher(matcher).accept(vocabulary()[id]), "the mask is not exact");
    }
    check(!allowed.empty(), "a grammar that cannot go on");
    check(GrammarMatcher(matcher).accept(matcher.forced_bytes(32)), "forced text is refused");
    const std::string& token = vocabulary()[allowed[random() % allowed.size()]];
    check(matcher.accept(token), "an allowed token is refused");
    text += token;
    if (!matcher.may_finish()) continue;
    check(valid_utf8_prefix(text) == text.size(), "a complete text that is not UTF-8");
    if (json) static_cast<void>(parse_json(text, "a complete document"));
  }
}

uint64_t seed_of(std::string_view input) {
  uint64_t seed = input.size();
  for (const char c : input) seed = seed * 31 + static_cast<uint8_t>(c);
  return seed;
}

template <class Compile>
void compile_and_follow(std::string_view input, bool json, Compile compile) {
  std::optional<Grammar> grammar;
  try {
    grammar = compile();
  } catch (const Error&) {
    return;
  }
  try {
    follow(*grammar, seed_of(input), json);
  } catch (const Error& e) {
    check(std::string_view(e.what()).find("ambiguous") != std::string_view::npos, "a document that is no JSON");
  }
}

}  // namespace

void gbnf(std::string_view input) {
  compile_and_follow(input, false, [&] { return parse_gbnf(input); });
  compile_and_follow(input, false, [&] { return compile_regex(input); });
}

void json_schema(std::string_view input) {
  compile_and_follow(input, true, [&] { return compile_json_schema(parse_json(input, "schema")); });
}

}  // namespace fathom::fuzz
