// MB/s of encoding and decoding on one core, for each tokenizer in $FATHOM_SHARED/data/tokenizers, over the texts of
// data/text mixed: English, German and the 55 languages of udhr.jsonl, in requests of 16 KiB.
#include <benchmark/benchmark.h>

#include <iostream>
#include <sstream>

#include "tests/testing.h"
#include "text/tokenizer.h"
#include "text/tokenizer_fixture.h"
#include "text/utf8.h"

namespace fathom {
namespace {

std::vector<std::string> mixed_texts() {
  std::vector<std::string> texts;
  for (const auto& entry : std::filesystem::directory_iterator(*testing::shared_path("data/text"))) {
    if (entry.path().extension() != ".txt" && entry.path().extension() != ".jsonl") continue;
    const std::string text = testing::read_file(entry.path());
    for (size_t at = 0; at < text.size() && at < (size_t{1} << 20); at += 16384)
      texts.push_back(utf8_lossy(text.substr(at, 16384)));
  }
  return texts;
}

void run(benchmark::State& state, const Tokenizer& tokenizer, const std::vector<std::string>& texts, bool decode) {
  size_t bytes = 0, tokens = 0;
  std::vector<std::vector<TokenId>> ids;
  for (const std::string& text : texts) {
    bytes += text.size();
    ids.push_back(tokenizer.encode(text));
    tokens += ids.back().size();
  }
  for (auto _ : state)
    for (size_t i = 0; i < texts.size(); ++i) {
      if (decode) {
        benchmark::DoNotOptimize(tokenizer.decode(ids[i]));
      } else {
        benchmark::DoNotOptimize(tokenizer.encode(texts[i]));
      }
    }
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations() * bytes));
  state.counters["bytes_per_token"] = static_cast<double>(bytes) / static_cast<double>(tokens);
}

}  // namespace
}  // namespace fathom

int main(int argc, char** argv) {
  using namespace fathom;
  const auto folder = testing::shared_path("data/tokenizers");
  if (!folder || !testing::shared_path("data/text")) {
    std::cerr << "needs $FATHOM_SHARED/data/tokenizers and data/text\n";
    return 1;
  }
  std::map<std::string, Tokenizer> tokenizers;
  for (auto& [name, spec] : testing::load_tokenizer_specs(*folder))
    tokenizers.emplace(name, Tokenizer(std::move(spec)));
  const std::vector<std::string> texts = mixed_texts();
  for (const auto& [name, tokenizer] : tokenizers)
    for (const bool decode : {false, true})
      benchmark::RegisterBenchmark((std::string(decode ? "decode/" : "encode/") + name).c_str(),
                                   [&, decode](benchmark::State& state) { run(state, tokenizer, texts, decode); });
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
}
