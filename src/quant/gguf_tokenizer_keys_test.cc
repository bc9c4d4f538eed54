#include "quant/gguf_tokenizer_keys.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "base/json.h"
#include "formats/tokenizer_gguf.h"
#include "formats/tokenizer_json.h"
#include "tests/testing.h"
#include "text/tokenizer.h"

namespace fathom {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

/// Written to a file and read again.
TokenizerSpec there_and_back(const TokenizerSpec& spec, const ModelConfig& config,
                             std::vector<std::string>* notes = nullptr) {
  const testing::TempDir dir;
  GgufKeys keys;
  std::vector<std::string> some;
  set_tokenizer_keys(keys, spec, config, notes ? *notes : some);
  GgufWriter(dir.path() / "a.gguf", keys, {}).commit();
  const GgufFile file(dir.path() / "a.gguf");
  std::optional<TokenizerSpec> read = tokenizer_from_gguf(file.metadata());
  EXPECT_TRUE(read);
  return std::move(*read);
}

void expect_same(const TokenizerSpec& got, const TokenizerSpec& want) {
  ASSERT_GE(got.tokens.size(), want.tokens.size());
  for (size_t id = 0; id < got.tokens.size(); ++id) {
    const bool unused = id >= want.tokens.size() || want.kinds[id] == TokenKind::kUnused;
    ASSERT_EQ(got.tokens[id], unused ? cat("[PAD", id, "]") : want.tokens[id]);
    ASSERT_EQ(got.kinds[id], unused ? TokenKind::kUnused : want.kinds[id]) << want.tokens[id];
  }
  EXPECT_TRUE(got.merges == want.merges);
  EXPECT_EQ(got.pre, want.pre);
  EXPECT_EQ(got.ignore_merges, want.ignore_merges);
  EXPECT_EQ(got.nfc, want.nfc);
  EXPECT_EQ(got.add_bos, want.add_bos);
  EXPECT_EQ(got.add_eos, want.add_eos);
  EXPECT_EQ(got.bos, want.bos);
  EXPECT_EQ(got.eos, want.eos);
  EXPECT_EQ(got.pad, want.pad);
  EXPECT_EQ(got.end_of_generation, want.end_of_generation);
  EXPECT_EQ(got.chat_template, want.chat_template);
}

/// Texts and ids of the reference tokenizer.
void expect_vectors(const Tokenizer& tokenizer, const fs::path& path) {
  size_t n = 0;
  std::istringstream lines(testing::read_file(path));
  for (std::string line; std::getline(lines, line); ++n) {
    const json::value value = parse_json(line, "vectors");
    std::vector<TokenId> want;
    for (const json::value& id : value.at("ids").as_array()) want.push_back(static_cast<TokenId>(id.as_int64()));
    ASSERT_EQ(tokenizer.encode(std::string(value.at("text").as_string()), {.parse_special = true}), want) << line;
  }
  EXPECT_GT(n, 100u);
}

TEST(GgufTokenizerKeys, PublishedTokenizersComeBack) {
  const auto data = testing::shared_path("data/tokenizers");
  if (!data) GTEST_SKIP() << "needs $FATHOM_SHARED/data/tokenizers";
  for (const fs::directory_entry& entry : fs::directory_iterator(*data)) {
    const std::optional<TokenizerSpec> spec =
        fs::exists(entry.path() / "tokenizer.json") ? tokenizer_from_folder(entry.path()) : std::nullopt;
    if (!spec) continue;
    SCOPED_TRACE(entry.path().filename());
    ModelConfig config;
    config.vocab_size = spec->tokens.size() + 5;
    const TokenizerSpec back = there_and_back(*spec, config);
    expect_same(back, *spec);
    expect_vectors(Tokenizer(back), *data / "vectors" / cat(entry.path().filename().string(), ".encode.jsonl"));
  }
}

class SmallTokenizer : public ::testing::Test {
 protected:
  SmallTokenizer() {
    using K = TokenKind;
    spec_.tokens = {"a", "b", "ab", "", "<s>", "</s>", "<think>", "<|user|>"};
    spec_.kinds = {K::kNormal,  K::kNormal,  K::kNormal,      K::kUnused,
                   K::kControl, K::kControl, K::kUserDefined, K::kUserDefined};
    spec_.merges = {{"a", "b"}};
    spec_.pre = "gpt-2";
    spec_.bos = 4;
    spec_.eos = 5;
    spec_.end_of_generation = {5};
    config_.vocab_size = 8;
  }
  TokenizerSpec spec_;
  ModelConfig config_;
};

TEST_F(SmallTokenizer, KindsFlagsAndEndsComeBack) {
  expect_same(there_and_back(spec_, config_), spec_);
  spec_.nfc = spec_.ignore_merges = spec_.add_bos = spec_.add_eos = true;
  spec_.chat_template = "{{ messages }}";
  spec_.pad = 0;
  config_.eos_token_ids = {1, 2, 5};
  std::vector<std::string> notes;
  const TokenizerSpec back = there_and_back(spec_, config_, &notes);
  spec_.end_of_generation = {1, 2, 5};
  expect_same(back, spec_);
  EXPECT_THAT(notes, ::testing::SizeIs(2)) << "other readers take nfc and ignore_merges from the name";
}

TEST_F(SmallTokenizer, SpecialLooksAreControlToOtherReaders) {
  GgufKeys keys;
  std::vector<std::string> notes;
  set_tokenizer_keys(keys, spec_, config_, notes);
  keys.remove("fathom.tokenizer.visible_tokens");
  const testing::TempDir dir;
  GgufWriter(dir.path() / "a.gguf", keys, {}).commit();
  const GgufFile file(dir.path() / "a.gguf");
  EXPECT_EQ(file.metadata().integers("tokenizer.ggml.token_type"), (std::vector<int64_t>{1, 1, 1, 5, 3, 3, 4, 3}));
}

TEST_F(SmallTokenizer, TheFolderNamesMore) {
  const testing::TempDir dir;
  std::ofstream(dir.path() / "tokenizer_config.json")
      << R"({"unk_token":{"content":"<think>"},"mask_token":"nowhere","chat_template":[{"name":"default","template":"D"},
             {"name":"tool_use","template":"T"},{"name":"RAG 2","template":"R"},{"name":"","template":"N"},
             {"name":"RAG-2","template":"S"}]})";
  const json::value config = parse_json(R"({"pad_token_id":5,"sep_token_id":99})", "config.json");
  GgufKeys keys;
  std::vector<std::string> notes;
  set_more_tokenizer_keys(keys, spec_, dir.path(), JsonObject(config, "config.json"), notes);
  GgufWriter(dir.path() / "a.gguf", keys, {}).commit();
  const GgufFile file(dir.path() / "a.gguf");
  const GgufMetadata& m = file.metadata();
  EXPECT_EQ(m.integer("tokenizer.ggml.unknown_token_id"), 6);
  EXPECT_EQ(m.integer("tokenizer.ggml.padding_token_id"), 5);
  EXPECT_EQ(m.string("tokenizer.chat_template.tool_use"), "T");
  EXPECT_EQ(m.string("tokenizer.chat_template.RAG_2"), "R");
  EXPECT_EQ(m.strings("tokenizer.chat_templates"), (std::vector<std::string>{"tool_use", "RAG_2"}));
  EXPECT_EQ(m.entries().size(), 5u) << "what no token answers to is left out";
  EXPECT_THAT(notes, ::testing::ElementsAre("chat template RAG 2 is named RAG_2 in the file",
                                            "chat template  left out: no such name can stand in a key",
                                            "chat template RAG-2 left out: another has its name"));
}

/// additional_chat_templates/NAME.jinja, as transformers writes them beside chat_template.jinja.
TEST_F(SmallTokenizer, TemplatesOfFilesTravel) {
  const testing::TempDir dir;
  std::ofstream(dir.path() / "tokenizer_config.json") << R"({"chat_template":[{"name":"other","template":"O"}]})";
  std::filesystem::create_directory(dir.path() / kMoreTemplates);
  for (const char* name : {"tool_use.jinja", "rag.jinja", "notes.txt"})
    std::ofstream(dir.path() / kMoreTemplates / name) << "text of " << name;
  const json::value config = parse_json("{}", "config.json");
  GgufKeys keys;
  std::vector<std::string> notes;
  set_more_tokenizer_keys(keys, spec_, dir.path(), JsonObject(config, "config.json"), notes);
  GgufWriter(dir.path() / "a.gguf", keys, {}).commit();
  const GgufFile file(dir.path() / "a.gguf");
  EXPECT_EQ(file.metadata().strings("tokenizer.chat_templates"), (std::vector<std::string>{"rag", "tool_use"}));
  EXPECT_EQ(file.metadata().string("tokenizer.chat_template.rag"), "text of rag.jinja");
  EXPECT_THAT(notes, ::testing::IsEmpty());
}

TEST_F(SmallTokenizer, WhatGgufCannotSayIsRefused) {
  GgufKeys keys;
  std::vector<std::string> notes;
  const auto error = [&] {
    try {
      set_tokenizer_keys(keys, spec_, config_, notes);
    } catch (const Error& e) {
      return std::string(e.what());
    }
    return std::string();
  };
  config_.vocab_size = 7;
  EXPECT_EQ(error(), "tokenizer.json has ids up to 7, and config.json a vocab_size of 7");
  spec_.source = "/models/small/tokenizer.json";
  EXPECT_EQ(error(), "/models/small/tokenizer.json has ids up to 7, and config.json a vocab_size of 7");
  config_.vocab_size = 8;
  spec_.pre.clear();
  spec_.patterns = {"[a-z]+"};
  EXPECT_THAT(error(), HasSubstr("GGUF has no name for the steps [a-z]+"));
}

TEST_F(SmallTokenizer, PlaceholdersAreNoTokenizer) {
  GgufKeys keys;
  std::vector<std::string> notes;
  config_.eos_token_ids = {1};
  set_placeholder_tokenizer_keys(keys, config_, notes);
  EXPECT_THAT(notes, ::testing::ElementsAre(HasSubstr("no tokenizer")));
  const testing::TempDir dir;
  GgufWriter(dir.path() / "a.gguf", keys, {}).commit();
  EXPECT_FALSE(tokenizer_from_gguf(GgufFile(dir.path() / "a.gguf").metadata()));
}

}  // namespace
}  // namespace fathom
