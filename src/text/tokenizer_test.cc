#include "text/tokenizer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <random>
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
  if (name.ends_with(".reconstructed")) name.resize(name.find('.'));
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

#define NEEDS_TOKENIZER(variable, name)            \
  const Tokenizer* variable = tokenizer_for(name); \
  if (!variable) GTEST_SKIP() << "needs $FATHOM_SHARED/data/tokenizers"

/// spec/tokenizers.md 6.1, as much of it as the vectors do not cover in spirit: one row per tokenizer.
TEST(Tokenizer, GoldenTableOfTheSpec) {
  NEEDS_TOKENIZER(v3, "deepseek-v3");
  const std::string text = "Hello, y'all! How are you \xF0\x9F\x98\x81 ?我想在apple工作1314151天～";
  using Ids = std::vector<TokenId>;
  EXPECT_EQ(v3->encode(text), (Ids{19923, 14,    383, 98513, 3,    1730, 477,   440, 53769, 226,
                                   4054,  11458, 445, 42123, 1472, 9049, 19453, 19,  954,   9596}));
  EXPECT_EQ(tokenizer_for("deepseek-llm")->encode("3333333"), Ids(7, 18));
  EXPECT_EQ(tokenizer_for("qwen2")->encode(" \t\n x"), (Ids{17476, 856}));
  EXPECT_EQ(tokenizer_for("llama-bpe")->encode("\n\n\n\n\n"), (Ids{14963}));
  EXPECT_EQ(v3->encode("<｜User｜>1+1=?<｜Assistant｜>", {.parse_special = true}),
            (Ids{128803, 19, 13, 19, 127252, 128804}));
}

bool has_added(const Tokenizer& t, const std::vector<TokenId>& ids) {
  return std::any_of(ids.begin(), ids.end(), [&](TokenId id) { return t.kind(id) != TokenKind::kNormal; });
}

TEST(Tokenizer, UserTextNeverBecomesAnAddedToken) {
  if (tokenizers().empty()) GTEST_SKIP() << "needs $FATHOM_SHARED/data/tokenizers";
  for (const auto& [name, t] : tokenizers()) {
    std::string all;
    for (size_t i = 0; i < t.vocab_size(); ++i) {
      const auto id = static_cast<TokenId>(i);
      const std::string text = t.token_bytes(id);
      if (t.kind(id) == TokenKind::kNormal || text.size() <= 2) continue;  // DeepSeek-LLM's letters are text
      const std::vector<TextPiece> pieces = {{text.substr(0, 2), true}, {text.substr(2), false}};
      EXPECT_FALSE(has_added(t, t.encode(text))) << name << " " << text;
      EXPECT_FALSE(has_added(t, t.encode(pieces))) << name << " half trusted: " << text;
      EXPECT_EQ(t.encode(text, {.parse_special = true}), std::vector<TokenId>{id}) << name;
      EXPECT_EQ(t.find(text), id) << name;
      all += text;
    }
    EXPECT_FALSE(has_added(t, t.encode("x" + all + all))) << name;
    EXPECT_EQ(t.decode(t.encode(all)), all) << name;
  }
}

TEST(Tokenizer, PiecesAreOneTextBetweenAddedTokens) {
  NEEDS_TOKENIZER(v3, "deepseek-v3");
  const std::vector<TextPiece> chat = {{"<｜User", true},
                                       {"｜>", true},
                                       {"Hel", false},
                                       {"", false},
                                       {"lo <｜Assistant｜>", false},
                                       {"12", false},
                                       {"3 <｜Assistant｜>", true}};
  std::vector<TokenId> want = {128803};
  for (const TokenId id : v3->encode("Hello <｜Assistant｜>123 ")) want.push_back(id);
  want.push_back(128804);
  EXPECT_EQ(v3->encode(chat), want);

  std::mt19937 random(5);
  const std::string text = "The quick 日本語 fox's 12345 \n\n  caf\xC3\xA9 e\xCC\x81 für Übung";
  for (const auto& [name, t] : tokenizers())
    for (int round = 0; round < 300; ++round) {  // cut anywhere, inside characters too
      std::vector<TextPiece> pieces;
      for (size_t at = 0; at < text.size();) {
        const size_t n = 1 + random() % 9;
        pieces.push_back({text.substr(at, n), random() % 2 == 0});
        at += n;
      }
      ASSERT_EQ(t.encode(pieces), t.encode(text)) << name;
    }
}

TEST(Tokenizer, AnyTextComesBack) {
  if (tokenizers().empty()) GTEST_SKIP() << "needs $FATHOM_SHARED/data/tokenizers";
  for (const auto& [name, t] : tokenizers()) {
    for (uint64_t seed = 0; seed < 200; ++seed) {
      std::string bytes;  // any bytes, valid or not
      for (const uint8_t b : testing::random_bytes(1 + seed * 3, seed)) bytes += static_cast<char>(b);
      if (seed % 2) bytes = utf8_lossy(bytes);
      if (seed % 4 == 2) bytes += "ordinary text, \xE4\xBD and more";
      std::string back;
      for (const TokenId id : t.encode(bytes)) back += t.token_bytes(id);
      if (t.find("\xC3\xBD").has_value() && t.kind(*t.find("\xC3\xBD")) != TokenKind::kNormal) {
        EXPECT_EQ(utf8_lossy(back), utf8_lossy(bytes)) << name;  // bytes 0xFC and so on have no token there
      } else if (!t.spec().nfc) {
        EXPECT_EQ(back, bytes) << name;
      }
    }
  }
}

TEST(Tokenizer, StreamedTextIsTheDecodedText) {
  if (tokenizers().empty()) GTEST_SKIP() << "needs $FATHOM_SHARED/data/tokenizers";
  std::mt19937 random(9);
  for (const auto& [name, t] : tokenizers()) {
    for (int round = 0; round < 300; ++round) {
      std::vector<TokenId> ids;  // half of them single bytes, so that characters are cut and broken
      for (size_t n = random() % 40; n > 0; --n)
        ids.push_back(static_cast<TokenId>(random() % (random() % 2 ? 260 : t.vocab_size())));
      StreamDetokenizer stream(t);
      std::string text;
      for (const TokenId id : ids) {
        const std::string part = stream.feed(id);
        ASSERT_EQ(valid_utf8_prefix(part), part.size());
        ASSERT_LE(stream.pending().size(), 3u);
        text += part;
      }
      ASSERT_EQ(text + stream.flush(), t.decode(ids)) << name;
      ASSERT_EQ(stream.flush(), "");
    }
  }
}

TEST(Tokenizer, TenMegabytesWithoutACutComplete) {
  NEEDS_TOKENIZER(v3, "deepseek-v3");
  std::string han;
  while (han.size() < 10'000'000) han += "的";
  for (const std::string& text : {std::string(10'000'000, 'a'), std::string(10'000'000, ' '), han})
    EXPECT_EQ(v3->decode(v3->encode(text)), text);
}

TEST(Tokenizer, ManyThreadsGetTheSameIds) {
  NEEDS_TOKENIZER(qwen, "qwen3");
  const std::string text = "Die Donaudampfschifffahrt, 日本語 e\xCC\x81 12 !!\n";
  const std::vector<TokenId> want =
      Tokenizer(testing::load_tokenizer_json(*shared_path("data/tokenizers/qwen3"))).encode(text);
  std::vector<std::jthread> threads;
  for (int i = 0; i < 8; ++i)
    threads.emplace_back([&] {
      for (int round = 0; round < 200; ++round) EXPECT_EQ(qwen->encode(text), want);
    });
}

/// A sound spec of 256 byte tokens, one merge and one control token, for tests that break it.
TokenizerSpec small_spec() {
  TokenizerSpec spec;
  spec.pre = "gpt-2";
  size_t next = 0x100;
  for (size_t b = 0; b < 256; ++b) {
    const bool prints = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
    append_utf8(spec.tokens.emplace_back(), static_cast<char32_t>(prints ? b : next++));
  }
  spec.tokens.insert(spec.tokens.end(), {"ab", "<end>", "<end>s", "", "padding"});
  spec.kinds.assign(257, TokenKind::kNormal);
  spec.kinds.insert(spec.kinds.end(),
                    {TokenKind::kControl, TokenKind::kUserDefined, TokenKind::kUnused, TokenKind::kUnused});
  spec.merges = {{"a", "b"}};
  spec.bos = 257, spec.eos = 257;
  spec.end_of_generation = {257};
  return spec;
}

TEST(Tokenizer, SmallOneFollowsItsSpec) {
  TokenizerSpec spec = small_spec();
  spec.add_bos = spec.add_eos = true;
  const Tokenizer t(spec);
  using Ids = std::vector<TokenId>;
  EXPECT_EQ(t.encode("ab<end>s"), (Ids{256, '<', 'e', 'n', 'd', '>', 's'}));
  EXPECT_EQ(t.encode("ab<end>s<end>", {.parse_special = true}), (Ids{256, 258, 257}));  // the longest
  EXPECT_EQ(t.encode("ab", {.add_special = true}), (Ids{257, 256, 257}));
  EXPECT_EQ(t.encode("<end>ab", {.parse_special = true, .add_special = true}), (Ids{257, 256, 257}));
  EXPECT_EQ(t.encode(""), Ids{});
  EXPECT_EQ(t.decode(Ids{257, 256, 258, 259, 260}), "<end>ab<end>s");
  EXPECT_EQ(t.decode(Ids{257, 256, 258}, true), "ab<end>s");
  EXPECT_EQ(t.find("ab"), 256);
  EXPECT_EQ(t.find("padding"), std::nullopt);
  EXPECT_TRUE(t.is_end_of_generation(257));
  EXPECT_FALSE(t.is_end_of_generation(0));
  EXPECT_THROW(t.decode(Ids{261}), Error);
  EXPECT_THROW(t.token_bytes(-1), Error);
  EXPECT_TRUE(t.spec().merges.empty());
}

TEST(Tokenizer, NoTextHasFewerTokensThanThat) {
  std::mt19937_64 random(11);
  TokenizerSpec spec = small_spec();
  for (const bool nfc : {false, true}) {
    spec.nfc = nfc;
    const Tokenizer t(spec);
    for (int round = 0; round < 200; ++round) {
      std::string text;
      for (size_t n = random() % 60; n > 0; --n) {
        constexpr char32_t kSome[] = {U'a', U'b', U'\u0301', U'\u1112', U'\u1161', U'\u11A8', U'e', U'中'};
        random() % 10 == 0 ? text += static_cast<char>(random()) : (append_utf8(text, kSome[random() % 8]), text);
      }
      const TextPiece piece{text, true};
      EXPECT_LE(t.fewest_tokens({&piece, 1}), t.encode({&piece, 1}).size()) << text;
    }
  }
  const TextPiece long_one{std::string(6000, 'x'), false};
  EXPECT_EQ(Tokenizer(spec).fewest_tokens({&long_one, 1}), 1000u);  // "<end>s" is the longest token
}

TEST(Tokenizer, InconsistentSpecsAreErrors) {
  const std::vector<std::function<void(TokenizerSpec&)>> breakages = {
      [](TokenizerSpec& s) { s.kinds.pop_back(); },
      [](TokenizerSpec& s) { s.tokens.clear(), s.kinds.clear(); },
      [](TokenizerSpec& s) { s.merges.emplace_back("a", "nothing"); },
      [](TokenizerSpec& s) { s.merges.emplace_back("b", "a"); },  // "ba" is no token
      [](TokenizerSpec& s) { s.merges.emplace_back("", "a"); },
      [](TokenizerSpec& s) { s.merges.emplace_back("\xFF", "a"); },
      [](TokenizerSpec& s) { s.tokens[256] = "a"; },
      [](TokenizerSpec& s) { s.tokens[258] = "<end>"; },
      [](TokenizerSpec& s) { s.tokens[257] = std::string(2000, 'x'); },
      [](TokenizerSpec& s) { s.bos = 300; },
      [](TokenizerSpec& s) { s.eos = -1; },
      [](TokenizerSpec& s) { s.end_of_generation.push_back(1 << 30); },
      [](TokenizerSpec& s) { s.pre = "unheard-of"; },
      [](TokenizerSpec& s) { s.pre.clear(), s.patterns = {"("}; },
  };
  for (size_t i = 0; i < breakages.size(); ++i) {
    TokenizerSpec spec = small_spec();
    breakages[i](spec);
    EXPECT_THROW(Tokenizer{std::move(spec)}, Error) << i;
  }
}

}  // namespace
}  // namespace fathom
