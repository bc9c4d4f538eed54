// Milliseconds of one token's mask with a vocabulary of 150,000 tokens, along documents that models write: the median
// and the worst place of each document, where the masks of states are gathered already (warm) and where they are not
// (cold: a new grammar for each document). Also what compiling takes.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <iostream>
#include <optional>

#include "sampling/grammar/grammar_matcher.h"
#include "sampling/grammar/json_schema.h"
#include "tests/testing.h"
#include "text/tokenizer_fixture.h"

namespace fathom {
namespace {

constexpr const char* kSchema = R"({"type":"object","properties":{
  "name":{"type":"string"},"id":{"type":"string","format":"uuid"},"age":{"type":"integer","minimum":0,"maximum":150},
  "tags":{"type":"array","items":{"type":"string","maxLength":40},"maxItems":10},
  "address":{"type":"object","properties":{"street":{"type":"string"},"city":{"type":"string"},
    "country":{"enum":["France","Germany","Spain","United States"]}},"required":["street","city"],"additionalProperties":false},
  "friends":{"type":"array","items":{"$ref":"#"}},"score":{"type":"number"}},
  "required":["name","age"],"additionalProperties":false})";
constexpr const char* kPerson = R"({
  "name": "Ada Lovelace, \"countess\" of computing",
  "id": "123e4567-e89b-12d3-a456-426614174000",
  "age": 36,
  "tags": ["mathematics", "poetical science", "日本語のタグ"],
  "address": {"street": "12 St James's Square", "city": "London", "country": "United States"},
  "friends": [{"name": "Charles Babbage", "age": 79, "friends": []}, {"name": "Zoë", "age": 20}],
  "score": 97.25
})";
constexpr const char* kAnyJson =
    R"({"query": {"match": {"text": "the quick brown fox jumps over the lazy dog \u00e9\n"}},
 "sizes": [1, 2.5, -3e10, true, null], "nested": {"a": {"b": {"c": [[], [{}], ["x", "y"]]}}},
 "long": "In the beginning there was a long sentence that went on, and on; it had (brackets), 'quotes' and so forth."})";
constexpr const char* kArithmetic =
    "root ::= (expr \"=\" term \"\\n\")+\nexpr ::= term ([-+*/] term)*\n"
    "term ::= [a-z]+ ws | [0-9]+ ws | \"(\" ws expr \")\" ws\nws ::= [ \\t]*";

using Clock = std::chrono::steady_clock;
double ms_since(Clock::time_point begin) {
  return std::chrono::duration<double, std::milli>(Clock::now() - begin).count();
}

// One walk along the document's own tokens; the time of the mask before each.
std::vector<double> walk(const Grammar& grammar, const TokenTrie& trie, const Tokenizer& tokenizer,
                         std::string_view text) {
  std::vector<double> times;
  GrammarMatcher matcher(grammar);
  std::vector<uint64_t> words;
  for (const TokenId id : tokenizer.encode(text)) {
    const Clock::time_point begin = Clock::now();
    const TokenMask mask = matcher.mask(trie, words);
    times.push_back(ms_since(begin));
    if (!mask.allows(static_cast<size_t>(id)) || !matcher.accept(tokenizer.token_view(id))) {
      std::cerr << "the document is not of the grammar at token '" << tokenizer.token_view(id) << "'\n";
      std::exit(1);
    }
  }
  return times;
}

void run(benchmark::State& state, const TokenTrie& trie, const Tokenizer& tokenizer, std::string_view text, bool cold,
         Grammar (*compile)()) {
  std::optional<Grammar> grammar(compile());
  if (!cold) walk(*grammar, trie, tokenizer, text);
  std::vector<double> medians, worsts;
  double total = 0, tokens = 0;
  for (auto _ : state) {
    if (cold) grammar = compile();
    std::vector<double> times = walk(*grammar, trie, tokenizer, text);
    std::sort(times.begin(), times.end());
    for (const double ms : times) total += ms;
    tokens += static_cast<double>(times.size());
    medians.push_back(times[times.size() / 2]);
    worsts.push_back(times.back());
  }
  std::sort(medians.begin(), medians.end()), std::sort(worsts.begin(), worsts.end());
  state.counters["median_ms"] = medians[medians.size() / 2];
  state.counters["worst_ms"] = worsts[worsts.size() / 2];
  state.counters["mean_ms"] = total / tokens;
  state.counters["mask_kb"] = static_cast<double>(grammar->size_bytes()) / 1000;
}

Grammar schema_grammar() { return compile_json_schema(parse_json(kSchema, "schema")); }
Grammar arithmetic_grammar() { return parse_gbnf(kArithmetic); }

}  // namespace
}  // namespace fathom

int main(int argc, char** argv) {
  using namespace fathom;
  const auto folder = testing::shared_path("data/tokenizers/qwen3");
  if (!folder) {
    std::cerr << "needs $FATHOM_SHARED/data/tokenizers/qwen3\n";
    return 1;
  }
  const Tokenizer tokenizer(testing::load_tokenizer_json(*folder));
  const auto begin = Clock::now();
  const TokenTrie trie(tokenizer);
  std::cout << "trie of " << trie.vocab_size() << " tokens: " << trie.nodes().size() << " nodes, " << ms_since(begin)
            << " ms\n";
  struct Case {
    const char* name;
    const char* text;
    Grammar (*compile)();
  };
  for (const Case& c : {Case{"schema", kPerson, schema_grammar}, Case{"json", kAnyJson, json_grammar},
                        Case{"arithmetic", "(a +b)*3=12\nx=(((y)))\n", arithmetic_grammar}}) {
    for (const bool cold : {false, true})
      benchmark::RegisterBenchmark(
          (std::string(cold ? "cold/" : "warm/") + c.name).c_str(),
          [&, c, cold](benchmark::State& state) { run(state, trie, tokenizer, c.text, cold, c.compile); });
    benchmark::RegisterBenchmark((std::string("compile/") + c.name).c_str(), [c](benchmark::State& state) {
      for (auto _ : state) benchmark::DoNotOptimize(c.compile());
    });
  }
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
}
