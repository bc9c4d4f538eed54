#include "formats/tokenizer_json.h"

#include <algorithm>

#include "formats/absent_file.h"
#include "formats/json_file.h"
#include "formats/tensor_info.h"
#include "formats/tokenizer_gguf.h"
#include "text/pretokenizer.h"

namespace fathom {
namespace {

namespace fs = std::filesystem;

// The largest published tokenizer.json has 35 MB.
constexpr uint64_t kMaxTokenizerBytes = uint64_t{128} << 20;

[[noreturn]] void refuse(const JsonObject& part, std::string_view expected, std::string_view found) {
  throw Error(cat(part.what(), ": expected ", expected, ", found ", printable(found)));
}

/// Calls f for the parts of a {"type": "Sequence", <list>: [...]}, or for the one part that it is.
template <class F>
void each_part(const JsonObject& part, std::string_view list, F&& f) {
  if (part.string("type") != "Sequence") return f(part);
  for (const json::value& inner : part.array(list)) each_part(JsonObject(inner, part.what()), list, f);
}

class Reader {
 public:
  explicit Reader(const fs::path& folder)
      : folder_(folder),
        file_(read_bounded_json(folder / "tokenizer.json", kMaxTokenizerBytes)),
        root_(file_, (folder / "tokenizer.json").string()) {}

  TokenizerSpec read() {
    spec_.source = root_.what();
    read_model();
    read_added_tokens();
    if (root_.has("normalizer")) read_normalizer(root_.object("normalizer"));
    read_pretokenizer(root_.object("pre_tokenizer"));
    if (root_.has("decoder") && root_.object("decoder").string("type") != "ByteLevel")
      refuse(root_.object("decoder"), "ByteLevel", root_.object("decoder").string("type"));
    if (root_.has("post_processor")) read_post_processor(root_.object("post_processor"));
    read_config();
    std::vector<TokenId> ends;
    if (spec_.eos) ends.push_back(*spec_.eos);
    set_end_of_generation(spec_, std::move(ends));
    return std::move(spec_);
  }

 private:
  /// Makes room for `id`; ids between that nobody names stay unused.
  void reserve(int64_t id, std::string_view what) {
    if (id < 0 || static_cast<size_t>(id) >= kMaxTokens)
      throw Error(cat(what, ": expected ids from 0 to ", kMaxTokens - 1, ", found ", id));
    if (static_cast<size_t>(id) < spec_.tokens.size()) return;
    spec_.tokens.resize(static_cast<size_t>(id) + 1);
    spec_.kinds.resize(spec_.tokens.size(), TokenKind::kUnused);
  }

  void read_model() {
    const JsonObject model = root_.object("model");
    if (model.string_or("type", "BPE") != "BPE") refuse(model, "type BPE", model.string("type"));
    if (model.boolean_or("byte_fallback", false)) refuse(model, "byte-level BPE", "byte_fallback true");
    for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"})
      if (!model.string_or(key, "").empty()) refuse(model, cat("no ", key), model.string(key));
    if (model.has("dropout") && model.number("dropout") != 0)
      refuse(model, "no dropout", to_json(*model.find("dropout")));
    spec_.ignore_merges = model.boolean_or("ignore_merges", false);
    const JsonObject vocab = model.object("vocab");
    for (const auto& [piece, value] : vocab.raw()) {
      if (!value.is_int64())
        throw Error(cat(vocab.what(), ": ", printable(piece), ": expected an id, found ", printable(to_json(value))));
      const int64_t id = value.get_int64();
      reserve(id, vocab.what());
      const auto at = static_cast<size_t>(id);
      if (spec_.kinds[at] != TokenKind::kUnused)
        throw Error(
            cat(vocab.what(), ": ", printable(piece), " and ", printable(spec_.tokens[at]), " have the same id ", id));
      spec_.tokens[at] = std::string(piece);
      spec_.kinds[at] = TokenKind::kNormal;
    }
    const json::array& merges = model.array("merges");
    if (merges.size() > kMaxMerges) refuse(model, cat("at most ", kMaxMerges, " merges"), cat(merges.size()));
    for (const json::value& merge : merges) spec_.merges.push_back(read_merge(merge, model));
  }

  static std::pair<std::string, std::string> read_merge(const json::value& merge, const JsonObject& model) {
    if (const json::string* text = merge.if_string()) return split_merge(*text, cat(model.what(), ": merges"));
    const json::array* pair = merge.if_array();
    if (!pair || pair->size() != 2 || !(*pair)[0].is_string() || !(*pair)[1].is_string())
      refuse(model, "merges of two strings", to_json(merge));
    return {std::string((*pair)[0].get_string()), std::string((*pair)[1].get_string())};
  }

  void read_added_tokens() {
    if (!root_.has("added_tokens")) return;
    for (const json::value& value : root_.array("added_tokens")) {
      const JsonObject token(value, cat(root_.what(), ": added_tokens"));
      const std::string content = token.string("content");
      if (content.empty()) refuse(token, "a text", "an empty one");
      for (const char* key : {"lstrip", "rstrip", "single_word"})
        if (token.boolean_or(key, false)) refuse(token, cat(key, " false for ", printable(content)), "true");
      const int64_t id = token.integer("id");
      reserve(id, token.what());
      // `special` alone decides here, as in Hugging Face's decoder: DeepSeek-V3's <｜User｜> is not special and stays
      // visible.
      const bool control = token.boolean_or("special", false);
      spec_.tokens[static_cast<size_t>(id)] = content;
      spec_.kinds[static_cast<size_t>(id)] = control ? TokenKind::kControl : TokenKind::kUserDefined;
    }
  }

  void read_normalizer(const JsonObject& normalizer) {
    each_part(normalizer, "normalizers", [&](const JsonObject& part) {
      if (part.string("type") != "NFC") refuse(part, "no normalizer, or NFC", part.string("type"));
      spec_.nfc = true;
    });
  }

  void read_pretokenizer(const JsonObject& pretokenizer) {
    bool byte_level = false;
    each_part(pretokenizer, "pretokenizers", [&](const JsonObject& part) {
      const std::string type = part.string("type");
      if (byte_level) refuse(part, "ByteLevel as the last step", type);
      if (type == "Split") {
        spec_.patterns.push_back(split_pattern(part));
      } else if (type == "Digits") {
        spec_.patterns.emplace_back(part.boolean_or("individual_digits", false) ? "\\p{N}" : "\\p{N}+");
      } else if (type == "ByteLevel") {
        byte_level = true;
        if (part.boolean_or("add_prefix_space", true)) refuse(part, "add_prefix_space false", "true");
        if (part.boolean_or("use_regex", true))
          for (const std::string& pattern : patterns_of("gpt-2")) spec_.patterns.push_back(pattern);
      } else {
        refuse(part, "Split, Digits or ByteLevel", type);
      }
    });
    if (!byte_level) refuse(pretokenizer, "a ByteLevel step", "none");
    spec_.pre = known_pre(spec_.patterns);
  }

  static std::string split_pattern(const JsonObject& part) {
    if (part.string("behavior") != "Isolated") refuse(part, "behavior Isolated", part.string("behavior"));
    if (part.boolean_or("invert", false)) refuse(part, "invert false", "true");
    const JsonObject pattern = part.object("pattern");
    if (pattern.has("Regex")) return pattern.string("Regex");
    std::string escaped;
    for (char c : pattern.string("String")) {
      if (std::string_view("\\^$.|?*+()[]{}-#").find(c) != std::string_view::npos) escaped += '\\';
      escaped += c;
    }
    return escaped;
  }

  /// TemplateProcessing: special tokens before the text are a BOS, after it an EOS.
  void read_post_processor(const JsonObject& processor) {
    each_part(processor, "processors", [&](const JsonObject& part) {
      const std::string type = part.string("type");
      if (type == "ByteLevel") return;
      if (type != "TemplateProcessing") refuse(part, "ByteLevel or TemplateProcessing", type);
      bool after_text = false;
      for (const json::value& value : part.array("single")) {
        const JsonObject step(value, part.what());
        if (step.has("Sequence")) {
          after_text = true;
          continue;
        }
        const std::string token = step.object("SpecialToken").string("id");
        std::optional<TokenId>& place = after_text ? spec_.eos : spec_.bos;
        bool& add = after_text ? spec_.add_eos : spec_.add_bos;
        if (add) refuse(part, "one special token on each side of the text", token);
        place = id_of(token, part.what());
        add = true;
      }
    });
  }

  /// Asked for a handful of tokens per file, so that no table is needed.
  TokenId id_of(const std::string& token, std::string_view what) const {
    for (size_t id = 0; id < spec_.tokens.size(); ++id)
      if (spec_.tokens[id] == token && spec_.kinds[id] != TokenKind::kUnused) return static_cast<TokenId>(id);
    throw Error(cat(what, ": token ", printable(token), " is not in the vocabulary"));
  }

  /// A token is a string or an object with its content.
  std::optional<TokenId> named_token(const JsonObject& config, std::string_view key) const {
    const json::value* value = config.find(key);
    if (!value) return std::nullopt;
    return id_of(value->is_object() ? config.object(key).string("content") : config.string(key),
                 cat(config.what(), ": ", key));
  }

  void read_config() {
    const fs::path path = folder_ / "tokenizer_config.json", jinja = folder_ / "chat_template.jinja";
    if (is_there(path)) {
      const json::value value = read_bounded_json(path);
      const JsonObject config(value, path.string());
      if (const auto bos = named_token(config, "bos_token")) spec_.bos = bos;
      if (const auto eos = named_token(config, "eos_token")) spec_.eos = eos;
      spec_.pad = named_token(config, "pad_token");
      spec_.add_bos = config.boolean_or("add_bos_token", spec_.add_bos);
      spec_.add_eos = config.boolean_or("add_eos_token", spec_.add_eos);
      if ((spec_.add_bos && !spec_.bos) || (spec_.add_eos && !spec_.eos))
        refuse(config, "the token that add_bos_token or add_eos_token asks for", "none");
      spec_.chat_template = chat_template(config);
    }
    if (is_there(jinja)) spec_.chat_template = read_text_file(jinja, kMaxConfigBytes);
  }

  static std::string chat_template(const JsonObject& config) {
    const json::value* value = config.find("chat_template");
    if (!value) return "";
    if (value->is_string()) return config.string("chat_template");
    for (const json::value& item : config.array("chat_template")) {
      const JsonObject named(item, cat(config.what(), ": chat_template"));
      if (named.string("name") == "default") return named.string("template");
    }
    return "";
  }

  fs::path folder_;
  json::value file_;
  JsonObject root_;
  TokenizerSpec spec_;
};

}  // namespace

std::optional<TokenizerSpec> tokenizer_from_folder(const fs::path& folder) {
  if (is_there(folder / "tokenizer.json")) return Reader(folder).read();
  if (is_there(folder / "tokenizer.model"))
    throw Error(cat((folder / "tokenizer.model").string(),
                    ": expected tokenizer.json (byte-level BPE), found SentencePiece only"));
  return std::nullopt;
}

}  // namespace fathom
