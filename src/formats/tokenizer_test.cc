#include <fstream>

#include "base/json.h"
#include "formats/gguf_builder.h"
#include "formats/tokenizer_gguf.h"
#include "formats/tokenizer_json.h"
#include "tests/testing.h"

namespace fathom {
namespace {

namespace fs = std::filesystem;
using testing::GgufBuilder;

std::string text_of(const TokenizerSpec& spec, std::optional<TokenId> id) {
  return id ? spec.tokens.at(static_cast<size_t>(*id)) : "none";
}

TEST(TokenizerJson, PublishedTokenizersAreRead) {
  struct Want {
    const char *name, *pre, *bos, *eos;
    size_t tokens, merges;
    bool nfc, ignore_merges, add_bos;
  };
  // spec/tokenizers.md 2.1 and 3, data/README.md.
  const std::vector<Want> wants = {
      {"deepseek-v3", "deepseek-v3", "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", 128815, 127741, false, false,
       true},
      {"llama-3.1", "llama-bpe", "<|begin_of_text|>", "<|eot_id|>", 128256, 280147, false, true, true},
      {"qwen3", "qwen2", "none", "<|im_end|>", 151669, 151387, true, false, false},
  };
  size_t read = 0;
  for (const Want& want : wants) {
    const auto folder = testing::shared_path(cat("data/tokenizers/", want.name));
    if (!folder) continue;
    const std::optional<TokenizerSpec> spec = tokenizer_from_folder(*folder);
    ASSERT_TRUE(spec);
    EXPECT_EQ(spec->pre, want.pre);
    EXPECT_EQ(spec->tokens.size(), want.tokens) << want.name;
    EXPECT_EQ(spec->kinds.size(), want.tokens);
    EXPECT_EQ(spec->merges.size(), want.merges);
    EXPECT_EQ(text_of(*spec, spec->bos), want.bos);
    EXPECT_EQ(text_of(*spec, spec->eos), want.eos);
    EXPECT_EQ(spec->nfc, want.nfc);
    EXPECT_EQ(spec->ignore_merges, want.ignore_merges);
    EXPECT_EQ(spec->add_bos, want.add_bos) << want.name;
    EXPECT_FALSE(spec->chat_template.empty());
    EXPECT_FALSE(spec->end_of_generation.empty());
    ++read;
  }
  if (!read) GTEST_SKIP() << "needs $FATHOM_SHARED/data/tokenizers";
}

TEST(TokenizerGguf, PublishedVocabulariesAreRead) {
  const auto folder = testing::shared_path("data/tokenizers/gguf-vocab");
  if (!folder) GTEST_SKIP() << "needs $FATHOM_SHARED/data/tokenizers/gguf-vocab";
  for (const fs::directory_entry& entry : fs::directory_iterator(*folder)) {
    if (entry.path().extension() != ".gguf") continue;
    const GgufFile file(entry.path());
    const std::optional<TokenizerSpec> spec = tokenizer_from_gguf(file.metadata());
    ASSERT_TRUE(spec);
    EXPECT_EQ(entry.path().stem().string(), "ggml-vocab-" + spec->pre);
    EXPECT_EQ(spec->tokens.size(), spec->kinds.size());
    ASSERT_TRUE(spec->eos);
    EXPECT_TRUE(std::count(spec->end_of_generation.begin(), spec->end_of_generation.end(), *spec->eos));
    EXPECT_EQ(spec->add_bos, spec->pre.starts_with("deepseek"));
  }
}

class TokenizerFolder : public ::testing::Test {
 protected:
  static constexpr const char* kBase =
      R"({"added_tokens":[{"id":2,"content":"<s>","special":true},{"id":5,"content":"<think>","special":false}],
          "normalizer":null,"pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false,"use_regex":true},
          "decoder":{"type":"ByteLevel"},"post_processor":null,
          "model":{"type":"BPE","vocab":{"a":0,"b":1,"ab":3},"merges":["a b"]}})";
  /// The message of the Error for tokenizer.json with one key replaced; "" where it is read.
  std::string error_of(const std::string& key, const std::string& replacement) {
    json::value value = parse_json(kBase, "base");
    if (!key.empty()) value.at_pointer(key) = parse_json(replacement, "replacement");
    put("tokenizer.json", to_json(value));
    try {
      spec_ = *tokenizer_from_folder(dir_.path());
      return "";
    } catch (const Error& e) {
      return e.what();
    }
  }
  void put(const char* name, const std::string& text) { std::ofstream(dir_.path() / name, std::ios::binary) << text; }
  testing::TempDir dir_;
  TokenizerSpec spec_;
};

TEST_F(TokenizerFolder, KindsHolesAndTemplates) {
  EXPECT_FALSE(tokenizer_from_folder(dir_.path()));
  put("tokenizer_config.json",
      R"({"bos_token":{"content":"<s>"},"add_bos_token":true,"chat_template":[{"name":"tool_use","template":"T"},{"name":"default","template":"D"}]})");
  ASSERT_EQ(error_of("", ""), "");
  EXPECT_EQ(spec_.tokens, (std::vector<std::string>{"a", "b", "<s>", "ab", "", "<think>"}));
  using K = TokenKind;
  EXPECT_EQ(spec_.kinds,
            (std::vector<K>{K::kNormal, K::kNormal, K::kControl, K::kNormal, K::kUnused, K::kUserDefined}));
  EXPECT_EQ(spec_.pre, "gpt-2");
  EXPECT_EQ(spec_.bos, 2);
  EXPECT_TRUE(spec_.add_bos);
  EXPECT_EQ(spec_.chat_template, "D");
  put("chat_template.jinja", "J");
  ASSERT_EQ(error_of("", ""), "");
  EXPECT_EQ(spec_.chat_template, "J") << "the file of its own wins";
}

TEST_F(TokenizerFolder, StepsBecomePatterns) {
  ASSERT_EQ(
      error_of("/pre_tokenizer", R"({"type":"Sequence","pretokenizers":[{"type":"Digits","individual_digits":true},
      {"type":"Split","pattern":{"String":"a.b"},"behavior":"Isolated","invert":false},
      {"type":"ByteLevel","add_prefix_space":false,"use_regex":false}]})"),
      "");
  EXPECT_EQ(spec_.pre, "");
  EXPECT_EQ(spec_.patterns, (std::vector<std::string>{"\\p{N}", "a\\.b"}));
  ASSERT_EQ(
      error_of("/pre_tokenizer", R"({"type":"Sequence","pretokenizers":[{"type":"Digits","individual_digits":true},
      {"type":"ByteLevel","add_prefix_space":false,"use_regex":true}]})"),
      "");
  EXPECT_EQ(spec_.pre, "smollm");
  ASSERT_EQ(error_of("/normalizer", R"({"type":"Sequence","normalizers":[{"type":"NFC"}]})"), "");
  EXPECT_TRUE(spec_.nfc);
}

TEST_F(TokenizerFolder, WhatIsNotBuiltIsRefusedByName) {
  const std::vector<std::vector<const char*>> cases = {
      {"/model/type", "\"Unigram\"", "Unigram"},
      {"/model/vocab", R"({"a":0,"b":0})", "same id"},
      {"/model/vocab", R"({"a":-1})", "ids from 0"},
      {"/model/vocab", R"({"a":2000000000})", "ids from 0"},
      {"/model/vocab", R"({"a":"x"})", "expected an id"},
      {"/model/merges", R"(["ab"])", "two parts"},
      {"/model/merges", R"(["a "])", "two parts"},
      {"/model/merges", R"([["a"]])", "two strings"},
      {"/model/merges", R"([""])", "two parts"},
      {"/normalizer", R"({"type":"Lowercase"})", "Lowercase"},
      {"/pre_tokenizer", R"({"type":"Metaspace"})", "Metaspace"},
      {"/pre_tokenizer", R"({"type":"ByteLevel","add_prefix_space":true})", "add_prefix_space"},
      {"/pre_tokenizer", R"({"type":"Digits"})", "ByteLevel step"},
      {"/pre_tokenizer", R"({"type":"Split","pattern":{"Regex":"a"},"behavior":"Removed"})", "Removed"},
      {"/pre_tokenizer", "null", "pre_tokenizer"},
      {"/decoder", R"({"type":"WordPiece"})", "WordPiece"},
      {"/post_processor", R"({"type":"BertProcessing"})", "BertProcessing"},
      {"/post_processor", R"({"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"<absent>"}}]})", "<absent>"},
      {"/added_tokens", R"([{"id":2,"content":"<s>","lstrip":true}])", "lstrip"},
      {"/added_tokens", R"([{"id":-2,"content":"<s>"}])", "ids from 0"},
      {"/added_tokens", R"([{"id":2}])", "content"},
  };
  for (const auto& c : cases) {
    const std::string error = error_of(c[0], c[1]);
    EXPECT_NE(error.find(c[2]), std::string::npos) << c[0] << " " << c[1] << ": " << error;
  }
  put("tokenizer_config.json", R"({"eos_token":"<absent>"})");
  EXPECT_NE(error_of("", "").find("<absent>"), std::string::npos);
  put("tokenizer_config.json", R"({"add_bos_token":true})");
  EXPECT_NE(error_of("", ""), "");
}

TEST(TokenizerGguf, KeysAreCheckedAndAliasesKnown) {
  const testing::TempDir dir;
  const auto base = [](const char* pre) {
    GgufBuilder b;
    b.key("tokenizer.ggml.model", "gpt2").key("tokenizer.ggml.pre", pre);
    b.key("tokenizer.ggml.tokens", std::vector<std::string>{"a", "b", "ab", "<|eot_id|>", "<x>", "[PAD5]"});
    b.key("tokenizer.ggml.token_type", std::vector<int32_t>{1, 1, 1, 3, 4, 5});
    b.key("tokenizer.ggml.merges", std::vector<std::string>{"a b"}).key("tokenizer.ggml.eos_token_id", 0u);
    return b;
  };
  const auto read = [&](const GgufBuilder& b) {
    std::ofstream(dir.path() / "x.gguf", std::ios::binary) << b.bytes();
    return tokenizer_from_gguf(GgufFile(dir.path() / "x.gguf").metadata());
  };
  const TokenizerSpec spec = *read(base("llama3").key("tokenizer.ggml.bos_token_id", 1u));
  EXPECT_EQ(spec.pre, "llama-bpe");
  EXPECT_TRUE(spec.ignore_merges);
  EXPECT_TRUE(spec.add_bos) << "implied by the name";
  EXPECT_EQ(spec.end_of_generation, (std::vector<TokenId>{0, 3}));
  EXPECT_EQ(spec.kinds[4], TokenKind::kUserDefined);
  EXPECT_EQ(spec.kinds[5], TokenKind::kUnused);
  const TokenizerSpec qwen = *read(base("deepseek-r1-qwen"));
  EXPECT_EQ(qwen.pre, "qwen2");
  EXPECT_TRUE(qwen.nfc);
  EXPECT_FALSE(read(GgufBuilder().key("a", 1u)));
  EXPECT_THROW((void)read(base("unheard-of")), Error);
  EXPECT_THROW((void)read(base("llama3")), Error) << "add_bos without a bos";
  EXPECT_THROW((void)read(base("gpt-2").key("tokenizer.ggml.bos_token_id", 6u)), Error);
  EXPECT_THROW((void)read(GgufBuilder()
                              .key("tokenizer.ggml.model", "llama")
                              .key("tokenizer.ggml.tokens", std::vector<std::string>{"a"})),
               Error);
  EXPECT_THROW((void)read(GgufBuilder()
                              .key("tokenizer.ggml.model", "gpt2")
                              .key("tokenizer.ggml.tokens", std::vector<std::string>{"a"})
                              .key("tokenizer.ggml.token_type", std::vector<int32_t>{1, 1})),
               Error);
}

}  // namespace
}  // namespace fathom
