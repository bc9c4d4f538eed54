// For tests and benchmarks of text/: TokenizerSpecs of the tokenizers in $FATHOM_SHARED/data/tokenizers, read in the
// plainest way (formats/ has the real readers, at a higher level), and the test vectors beside them.
#pragma once
#include <cstring>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "text/pretokenizer.h"
#include "text/tokenizer.h"

namespace fathom::testing {

inline void add_patterns(const json::value& step, std::vector<std::string>& patterns) {
  const JsonObject object(step, "pre_tokenizer");
  const std::string type = object.string("type");
  if (type == "Sequence")
    for (const json::value& inner : object.array("pretokenizers")) add_patterns(inner, patterns);
  if (type == "Split") patterns.push_back(object.object("pattern").string("Regex"));
  if (type == "Digits") patterns.push_back(object.boolean_or("individual_digits", false) ? R"(\p{N})" : R"(\p{N}+)");
  if (type == "ByteLevel" && object.boolean_or("use_regex", true)) patterns.push_back(patterns_of("gpt-2")[0]);
}

/// A folder with a tokenizer.json of Hugging Face.
inline TokenizerSpec load_tokenizer_json(const std::filesystem::path& folder) {
  const json::value root = read_json_file(folder / "tokenizer.json");
  const JsonObject file(root, "tokenizer.json"), model = file.object("model");
  TokenizerSpec spec;
  const auto set = [&spec](int64_t id, std::string_view text, TokenKind kind) {
    const auto i = static_cast<size_t>(id);
    if (i >= spec.tokens.size()) spec.tokens.resize(i + 1), spec.kinds.resize(i + 1, TokenKind::kUnused);
    spec.tokens[i] = text;
    spec.kinds[i] = kind;
  };
  for (const auto& [text, id] : model.object("vocab").raw()) set(id.as_int64(), text, TokenKind::kNormal);
  for (const json::value& value : file.array("added_tokens")) {
    const JsonObject added(value, "added_tokens");
    set(added.integer("id"), added.string("content"),
        added.boolean_or("special", false) ? TokenKind::kControl : TokenKind::kUserDefined);
  }
  for (const json::value& merge : model.array("merges")) {
    if (const auto* pair = merge.if_array()) {
      spec.merges.emplace_back(pair->at(0).as_string(), pair->at(1).as_string());
    } else {
      const std::string_view text = merge.as_string();
      const size_t space = text.find(' ');
      spec.merges.emplace_back(text.substr(0, space), text.substr(space + 1));
    }
  }
  spec.ignore_merges = model.boolean_or("ignore_merges", false);
  if (const json::value* normalizer = file.find("normalizer"))
    spec.nfc = JsonObject(*normalizer, "normalizer").string("type") == "NFC";
  if (const json::value* step = file.find("pre_tokenizer")) add_patterns(*step, spec.patterns);
  return spec;
}

/// The tokenizer.ggml.* keys of a little-endian GGUF file that is known to be sound.
class GgufVocab {
 public:
  explicit GgufVocab(const std::filesystem::path& path) : bytes_(read_text_file(path)) {}

  TokenizerSpec read() {
    take<uint32_t>(), take<uint32_t>(), take<uint64_t>();  // magic, version, tensors
    for (uint64_t n = take<uint64_t>(); n > 0; --n) {
      key_ = string();
      value(take<uint32_t>());
    }
    return std::move(spec_);
  }

 private:
  template <class T>
  T take() {
    T x;
    std::memcpy(&x, bytes_.data() + at_, sizeof x);
    at_ += sizeof x;
    return x;
  }
  std::string string() {
    const auto n = take<uint64_t>();
    at_ += n;
    return bytes_.substr(at_ - n, n);
  }
  void value(uint32_t type) {
    constexpr size_t kSizes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
    if (type == 9) {
      const auto element = take<uint32_t>();
      for (uint64_t n = take<uint64_t>(); n > 0; --n) value(element);
    } else if (type == 8) {
      text(string());
    } else if (key_ == "tokenizer.ggml.token_type") {
      const auto kind = take<int32_t>();
      spec_.kinds.push_back(kind == 3   ? TokenKind::kControl
                            : kind == 4 ? TokenKind::kUserDefined
                            : kind == 5 ? TokenKind::kUnused
                                        : TokenKind::kNormal);
    } else {
      at_ += kSizes[type];
    }
  }
  void text(const std::string& s) {
    if (key_ == "tokenizer.ggml.pre") spec_.pre = s;
    if (key_ == "tokenizer.ggml.tokens") spec_.tokens.push_back(s);
    if (key_ == "tokenizer.ggml.merges") spec_.merges.emplace_back(s.substr(0, s.find(' ')), s.substr(s.find(' ') + 1));
  }

  std::string bytes_, key_;
  size_t at_ = 0;
  TokenizerSpec spec_;
};

/// Every tokenizer below `data_tokenizers` (data/tokenizers) by name: folders with a tokenizer.json, and gguf-vocab/'s
/// "ggml-vocab-NAME.gguf" as NAME.
inline std::map<std::string, TokenizerSpec> load_tokenizer_specs(const std::filesystem::path& data_tokenizers) {
  std::map<std::string, TokenizerSpec> specs;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(data_tokenizers)) {
    const std::filesystem::path& path = entry.path();
    const std::string stem = path.stem().string(), prefix = "ggml-vocab-";
    if (path.filename() == "tokenizer.json")
      specs[path.parent_path().filename().string()] = load_tokenizer_json(path.parent_path());
    if (path.extension() == ".gguf" && stem.starts_with(prefix))
      specs[stem.substr(prefix.size())] = GgufVocab(path).read();
  }
  return specs;
}

}  // namespace fathom::testing
