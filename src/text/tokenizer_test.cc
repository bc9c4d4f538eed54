#include "text/tokenizer.h"

#include <gtest/gtest.h>

#include <thread>

#include "base/error.h"
#include "tests/testing.h"
#include "text/detokenizer.h"
#include "text/tokenizer_fixture.h"
#include "text/utf8.h"

namespace fathom {
namespace {

namespace fs = std::filesystem;
using testing::read_file;
using testing::shared_path;

using Tokenizers = std::map<std::string, Tokenizer>;

/// All tokenizers of the shared data, loaded once for all tests; empty where the data is absent.
const Tokenizers& tokenizers() {
  static const Tokenizers all = [] {
    Tokenizers out;
    if (const auto folder = shared_path("data/tokenizers"))
      for (auto& [name, spec] : testing::load_tokenizer_specs(*folder)) out.emplace(name, Tokenizer(std::move(spec)));
    return out;
  }();
  return all;
}

/// The tokenizer that vectors of this name speak of: "llama-bpe" and "qwen2" of llama.cpp have no file of their own.
const Tokenizer* tokenizer_for(std::string name) {
  if (const size_t dot = name.find('.'); !tokenizers().contains(name) && name.starts_with("deepseek")) name.resize(dot);
  if (name == "llama-bpe") name = "llama-3.1";
  if (name == "qwen2") name = "qwen3";
  const auto found = tokenizers().find(name);
  return found == tokenizers().end() ? nullptr : &found->second;
}

std::vector<TokenId> ids_of(const json::value& array) {
  std::vector<TokenId> ids;
  for (const json::value& id : array.as_array()) ids.push_back(static_cast<TokenId>(id.as_int64()));
  return ids;
}

/// Calls f(tokenizer, record, where) for every line of every file in vectors/ that ends in `suffix`.
size_t for_each_vector(const std::string& suffix,
                       const std::function<void(const Tokenizer&, const JsonObject&, const std::string&)>& f) {
  size_t count = 0;
  const auto folder = shared_path("data/tokenizers/vectors");
  if (!folder) return 0;
  for (const auto& entry : fs::directory_iterator(*folder)) {
    const std::string file = entry.path().filename().string();
    if (!file.ends_with(suffix)) continue;
    const Tokenizer* tokenizer = tokenizer_for(file.substr(0, file.size() - suffix.size()));
    if (!tokenizer) {
      ADD_FAILURE() << "no tokenizer for " << file;
      continue;
    }
    std::istringstream lines(read_file(entry.path()));
    for (std::string line; std::getline(lines, line); ++count) {
      const json::value value = parse_json(line, file);
      const JsonObject record(value, file);
      f(*tokenizer, record, file + " " + record.string("id"));
    }
  }
  return count;
}

TEST(Tokenizer, EncodesAsTheReferenceDoes) {
  const size_t n =
      for_each_vector(".encode.jsonl", [](const Tokenizer& t, const JsonObject& record, const std::string& where) {
        const std::string text = record.string("text");
        EXPECT_EQ(t.encode(text, {.parse_special = true}), ids_of(*record.find("ids"))) << where << ": " << text;
      });
  if (n == 0) GTEST_SKIP() << "needs $FATHOM_SHARED/data/tokenizers/vectors";
}

TEST(Tokenizer, DecodesWhatTheReferenceEncoded) {
  const size_t n =
      for_each_vector(".encode.jsonl", [](const Tokenizer& t, const JsonObject& record, const std::string& where) {
        // Where the reference gives U+FFFD for a letter that is an added token, the letter is right (data/README.md).
        const bool byte_letters = where.find("reconstructed") != where.npos;
        const std::string text = record.string("text"), want = byte_letters ? text : record.string_or("decoded", text);
        EXPECT_EQ(t.decode(ids_of(*record.find("ids"))), want) << where;
      });
  if (n == 0) GTEST_SKIP() << "needs $FATHOM_SHARED/data/tokenizers/vectors";
}

TEST(Tokenizer, DecodesAsTheReferenceDoesWholeAndStreamed) {
  const size_t n =
      for_each_vector(".decode.jsonl", [](const Tokenizer& t, const JsonObject& record, const std::string& where) {
        const std::vector<TokenId> ids = ids_of(*record.find("ids"));
        const bool skip = record.boolean_or("skip_special_tokens", false);
        const std::string want = record.string("text");
        EXPECT_EQ(t.decode(ids, skip), want) << where;
        StreamDetokenizer stream(t, skip);
        std::string streamed;
        for (const TokenId id : ids) {
          const std::string part = stream.feed(id);
          EXPECT_EQ(valid_utf8_prefix(part), part.size()) << where;
          streamed += part;
        }
        EXPECT_EQ(streamed + stream.flush(), want) << where;
      });
  if (n == 0) GTEST_SKIP() << "needs $FATHOM_SHARED/data/tokenizers/vectors";
}

TEST(Tokenizer, AgreesWithLlamaCppOnItsOwnTexts) {
  const auto folder = shared_path("data/tokenizers/gguf-vocab");
  if (!folder) GTEST_SKIP() << "needs $FATHOM_SHARED/data/tokenizers/gguf-vocab";
  for (const auto& entry : fs::directory_iterator(*folder)) {
    if (entry.path().extension() != ".inp") continue;
    const std::string name = entry.path().filename().string().substr(std::string("ggml-vocab-").size());
    const Tokenizer* tokenizer = tokenizer_for(name.substr(0, name.find(".gguf")));
    ASSERT_TRUE(tokenizer) << name;
    fs::path out_path = entry.path();
    std::istringstream answers(read_file(out_path.replace_extension(".out")));
    const std::string texts = read_file(entry.path()), separator = "\n__ggml_vocab_test__\n";
    size_t count = 0;
    for (size_t at = 0; at < texts.size(); ++count) {
      const size_t end = std::min(texts.find(separator, at), texts.size());
      std::string line;
      std::getline(answers, line);
      std::istringstream numbers(line);
      const std::vector<TokenId> want{std::istream_iterator<TokenId>(numbers), {}};
      EXPECT_EQ(tokenizer->encode(texts.substr(at, end - at)), want) << name << " text " << count;
      at = end + separator.size();
    }
    EXPECT_GE(count, 46u) << name;
  }
}

}  // namespace
}  // namespace fathom
