// Microseconds of one token's mask by llama.cpp's grammar sampler, along a document: the rival of grammar_bench.cc,
// which bench/grammar_rivals.py runs. It is built by hand against a built llama.cpp, and is no part of the project's
// build:
//   g++ -std=c++17 -O2 -I LLAMA/include -I LLAMA/ggml/include grammar_llama.cc -L LLAMA/build/bin -lllama -lggml-base
// grammar_llama VOCAB.gguf GRAMMAR.gbnf DOCUMENT WALKS: prints a line "MEDIAN WORST" for each walk, and before them one
// with the milliseconds that parsing the grammar took. The model is loaded without weights.
#include <llama.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;
double us_since(Clock::time_point begin) {
  return std::chrono::duration<double, std::micro>(Clock::now() - begin).count();
}

[[noreturn]] void fail(const std::string& why) {
  std::fprintf(stderr, "%s\n", why.c_str());
  std::exit(1);
}

std::string read_file(const char* path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) fail(std::string(path) + ": cannot be read");
  return {std::istreambuf_iterator<char>(in), {}};
}

/// The time of the mask before each token: what llama_sampler_apply takes for all of the vocabulary.
std::vector<double> walk(llama_sampler* grammar, const std::vector<llama_token>& tokens, int32_t vocab_size) {
  std::vector<double> times;
  std::vector<llama_token_data> all(static_cast<size_t>(vocab_size));
  llama_sampler_reset(grammar);
  for (const llama_token token : tokens) {
    for (int32_t id = 0; id < vocab_size; ++id) all[static_cast<size_t>(id)] = {id, 0.0f, 0.0f};
    llama_token_data_array candidates{all.data(), all.size(), -1, false};
    const Clock::time_point begin = Clock::now();
    llama_sampler_apply(grammar, &candidates);
    times.push_back(us_since(begin));
    if (std::isinf(all[static_cast<size_t>(token)].logit)) fail("the document is not of the grammar");
    llama_sampler_accept(grammar, token);
  }
  std::sort(times.begin(), times.end());
  return times;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 5) fail("usage: grammar_llama VOCAB.gguf GRAMMAR.gbnf DOCUMENT WALKS");
  llama_log_set([](ggml_log_level, const char*, void*) {}, nullptr);
  llama_model_params params = llama_model_default_params();
  params.vocab_only = true;
  llama_model* model = llama_model_load_from_file(argv[1], params);
  if (!model) fail(std::string(argv[1]) + ": cannot be loaded");
  const llama_vocab* vocab = llama_model_get_vocab(model);
  const std::string gbnf = read_file(argv[2]), text = read_file(argv[3]);
  const Clock::time_point begin = Clock::now();
  llama_sampler* grammar = llama_sampler_init_grammar(vocab, gbnf.c_str(), "root");
  if (!grammar) fail(std::string(argv[2]) + ": not taken as a grammar");
  std::printf("%.3f\n", us_since(begin) / 1000);
  std::vector<llama_token> tokens(text.size() + 1);
  const int32_t n = llama_tokenize(vocab, text.data(), static_cast<int32_t>(text.size()), tokens.data(),
                                   static_cast<int32_t>(tokens.size()), false, false);
  if (n <= 0) fail("the document has no tokens");
  tokens.resize(static_cast<size_t>(n));
  for (int i = 0; i < std::atoi(argv[4]); ++i) {
    const std::vector<double> times = walk(grammar, tokens, llama_vocab_n_tokens(vocab));
    std::printf("%.2f %.2f\n", times[times.size() / 2], times.back());
  }
  llama_sampler_free(grammar);
  llama_model_free(model);
}
