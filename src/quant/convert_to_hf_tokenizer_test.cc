#include "quant/convert_to_hf_tokenizer.h"

#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <sstream>

#include "base/json.h"
#include "formats/tokenizer_gguf.h"
#include "formats/tokenizer_json.h"
#include "quant/convert_to_gguf_keys.h"
#include "quant/gguf_tokenizer_keys.h"
#include "tests/testing.h"
#include "text/tokenizer.h"

namespace fathom {
namespace {

namespace fs = std::filesystem;

class ToHfTokenizer : public ::testing::Test {
 protected:
  void SetUp() override {
    data_ = testing::shared_path("data/tokenizers");
    if (!data_) GTEST_SKIP() << "needs $FATHOM_SHARED/data/tokenizers";
  }
  std::vector<fs::path> folders() const {
    std::vector<fs::path> out;
    for (const fs::directory_entry& entry : fs::directory_iterator(*data_))
      if (fs::exists(entry.path() / "tokenizer.json")) out.push_back(entry.path());
    return out;
  }
  /// The GGUF keys of a published tokenizer.
  GgufFile gguf_of(const fs::path& folder, bool fathom_keys) {
    const TokenizerSpec spec = *tokenizer_from_folder(folder);
    ModelConfig config;
    config.vocab_size = spec.tokens.size() + 3;
    config.bos_token_id = 0;
    GgufKeys keys;
    std::vector<std::string> notes;
    set_tokenizer_keys(keys, spec, config, notes);
    if (fathom_keys) set_fathom_keys(keys, folder, *open_checkpoint(testing::golden_dir() / "models/qwen3"));
    GgufWriter(dir_.path() / "a.gguf", keys, {}).commit();
    return GgufFile(dir_.path() / "a.gguf");
  }
  /// Writes the files that the way back gives; returns their folder and fills notes_.
  fs::path back(const GgufFile& file) {
    const fs::path out = dir_.path() / "out";
    fs::remove_all(out);
    fs::create_directory(out);
    notes_.clear();
    const std::optional<TokenizerSpec> spec = tokenizer_from_gguf(file.metadata());
    for (const auto& [name, text] : hf_tokenizer_files(file.metadata(), spec, 4096, notes_))
      std::ofstream(out / name, std::ios::binary) << text;
    differences_ = compare_tokenizers(out, *spec);
    return out;
  }
  void expect_vectors(const fs::path& folder, const fs::path& vectors) {
    const Tokenizer tokenizer(*tokenizer_from_folder(folder));
    std::istringstream lines(testing::read_file(vectors));
    size_t n = 0;
    for (std::string line; std::getline(lines, line); ++n) {
      const json::value value = parse_json(line, "vectors");
      std::vector<TokenId> want;
      for (const json::value& id : value.at("ids").as_array()) want.push_back(static_cast<TokenId>(id.as_int64()));
      ASSERT_EQ(tokenizer.encode(std::string(value.at("text").as_string()), {.parse_special = true}), want) << line;
    }
    EXPECT_GT(n, 100u);
  }

  std::optional<fs::path> data_;
  testing::TempDir dir_;
  std::vector<std::string> notes_, differences_;
};

/// Merges are written in two ways that mean the same.
json::value with_plain_merges(json::value value) {
  for (json::value& merge : value.as_object()["model"].as_object()["merges"].as_array())
    if (merge.is_array()) {
      std::string text(merge.as_array()[0].as_string());
      text += " ";
      text += std::string_view(merge.as_array()[1].as_string());
      merge = json::string(text);
    }
  return value;
}

TEST_F(ToHfTokenizer, KeptFilesComeBackAsTheyWere) {
  for (const fs::path& folder : folders()) {
    SCOPED_TRACE(folder.filename());
    const fs::path out = back(gguf_of(folder, /*fathom_keys=*/true));
    EXPECT_TRUE(with_plain_merges(read_json_file(folder / "tokenizer.json")) ==
                with_plain_merges(read_json_file(out / "tokenizer.json")));
    EXPECT_EQ(testing::read_file(folder / "tokenizer_config.json"), testing::read_file(out / "tokenizer_config.json"));
    EXPECT_TRUE(notes_.empty()) << notes_[0];
    EXPECT_TRUE(differences_.empty()) << differences_[0];
  }
}

TEST_F(ToHfTokenizer, TokenizersMadeFromKeysEncodeAlike) {
  for (const fs::path& folder : folders()) {
    SCOPED_TRACE(folder.filename());
    const fs::path out = back(gguf_of(folder, /*fathom_keys=*/false));
    EXPECT_EQ(1u, notes_.size());
    EXPECT_TRUE(differences_.empty()) << differences_[0];
    expect_vectors(out, *data_ / "vectors" / cat(folder.filename().string(), ".encode.jsonl"));
    // The id 0 that config.json named as BOS is a piece of text in two of them, "!", and no special token.
    const json::value special = read_json_file(out / "special_tokens_map.json");
    const json::value* bos = special.as_object().if_contains("bos_token");
    EXPECT_TRUE(!bos || bos->as_string().size() > 1);
  }
}

TEST_F(ToHfTokenizer, VocabulariesOfLlamaCppEncodeAlike) {
  for (const char* name : {"deepseek-llm", "deepseek-coder", "gpt-2"}) {
    SCOPED_TRACE(name);
    const fs::path file = *data_ / "gguf-vocab" / cat("ggml-vocab-", name, ".gguf");
    if (!fs::exists(file)) continue;
    const fs::path out = back(GgufFile(file));
    EXPECT_TRUE(differences_.empty()) << differences_[0];
    const fs::path vectors = *data_ / "vectors" / cat(name, ".reconstructed.encode.jsonl");
    if (fs::exists(vectors)) expect_vectors(out, vectors);
  }
}

TEST_F(ToHfTokenizer, AnotherChatTemplateWins) {
  const fs::path folder = *data_ / "deepseek-v3";
  GgufKeys keys;
  keys.copy(gguf_of(folder, true).metadata());
  keys.set_string("tokenizer.chat_template", "{{ messages }}");
  GgufWriter(dir_.path() / "b.gguf", keys, {}).commit();
  const fs::path out = back(GgufFile(dir_.path() / "b.gguf"));
  EXPECT_EQ(1u, notes_.size());
  EXPECT_TRUE(differences_.empty());
  EXPECT_EQ("{{ messages }}", tokenizer_from_folder(out)->chat_template);
}

/// A byte-level tokenizer of one letter, with templates by name.
class ToHfTemplates : public ::testing::Test {
 protected:
  void SetUp() override {
    spec_.tokens = {"a", "<s>"};
    spec_.kinds = {TokenKind::kNormal, TokenKind::kControl};
    spec_.pre = "gpt-2";
    spec_.chat_template = "D";
    ModelConfig config;
    config.vocab_size = 2;
    set_tokenizer_keys(keys_, spec_, config, notes_);
    keys_.set_strings("tokenizer.chat_templates", std::vector<std::string>{"rag", "../../up", "absent"});
    keys_.set_string("tokenizer.chat_template.rag", "R");
    keys_.set_string("tokenizer.chat_template.../../up", "U");
  }
  std::map<std::string, std::string> files() {
    GgufWriter(dir_.path() / "a.gguf", keys_, {}).commit();
    const GgufFile file(dir_.path() / "a.gguf");
    notes_.clear();
    std::map<std::string, std::string> out;
    for (const auto& [name, text] :
         hf_tokenizer_files(file.metadata(), tokenizer_from_gguf(file.metadata()), 64, notes_))
      out[name] = text;
    return out;
  }

  testing::TempDir dir_;
  TokenizerSpec spec_;
  GgufKeys keys_;
  std::vector<std::string> notes_;
};

TEST_F(ToHfTemplates, OfAnyFileStandInTheConfig) {
  const std::map<std::string, std::string> made = files();
  EXPECT_EQ(parse_json(made.at("tokenizer_config.json"), "made").at("chat_template"),
            parse_json(R"([{"name":"default","template":"D"},{"name":"rag","template":"R"}])", "want"));
  EXPECT_EQ(made.size(), 3u) << "no file of a template";
  const std::string left_out = " left out: the file has none of a usable name";
  EXPECT_EQ(notes_, (std::vector<std::string>{
                        "chat template ../../up" + left_out, "chat template absent" + left_out,
                        "tokenizer.json was made from the file's keys: the same ids, but not the publisher's file; "
                        "which added tokens are special is the GGUF converter's guess"}));
}

TEST_F(ToHfTemplates, OfOurFilesAreFilesAgain) {
  keys_.set_string("fathom.hf.tokenizer_config.json", "{}");
  keys_.set_string("fathom.hf.chat_template", "chat_template.jinja");
  std::map<std::string, std::string> made = files();
  EXPECT_EQ(made["chat_template.jinja"], "D");
  EXPECT_EQ(made["additional_chat_templates/rag.jinja"], "R");
  EXPECT_EQ(made["tokenizer_config.json"], "{}");
  const std::string list = R"({"chat_template":[{"name":"default","template":"D"},{"name":"rag","template":"R"}]})";
  keys_.set_string("fathom.hf.tokenizer_config.json", list);
  keys_.set_string("fathom.hf.chat_template", "tokenizer_config.json");
  made = files();
  EXPECT_EQ(made["tokenizer_config.json"], list);
  EXPECT_FALSE(made.count("additional_chat_templates/rag.jinja"));
}

TEST(ToHfPlaceholders, MakeNoTokenizer) {
  testing::TempDir dir;
  GgufKeys keys;
  std::vector<std::string> notes;
  ModelConfig config;
  config.vocab_size = 10;
  set_placeholder_tokenizer_keys(keys, config, notes);
  GgufWriter(dir.path() / "a.gguf", keys, {}).commit();
  const GgufFile file(dir.path() / "a.gguf");
  notes.clear();
  EXPECT_TRUE(hf_tokenizer_files(file.metadata(), tokenizer_from_gguf(file.metadata()), 1, notes).empty());
  EXPECT_EQ(1u, notes.size());
}

}  // namespace
}  // namespace fathom
