#include "quant/convert_to_hf_tokenizer.h"

#include <algorithm>

#include "formats/tokenizer_json.h"
#include "quant/convert_safetensors_config.h"
#include "quant/gguf_tokenizer_keys.h"
#include "text/pretokenizer.h"

namespace fathom {
namespace {

using Files = std::vector<std::pair<std::string, std::string>>;

constexpr const char* kTokenizerKey = "fathom.hf.tokenizer.json";

bool is_added(TokenKind kind) { return kind == TokenKind::kControl || kind == TokenKind::kUserDefined; }

/// tokenizer.json's model.vocab. Added tokens behind the last piece are left out as publishers do: a loader numbers
/// them from the vocabulary's size on, which is right as long as no id before them is unused.
json::object vocab_of(const TokenizerSpec& spec) {
  size_t end = 0, used = 0;
  for (size_t id = 0; id < spec.tokens.size(); ++id) {
    if (spec.kinds[id] == TokenKind::kNormal) end = id + 1;
  }
  for (size_t id = 0; id < spec.tokens.size(); ++id) used += spec.kinds[id] != TokenKind::kUnused;
  bool gap = false;
  for (size_t id = 0; id < used; ++id) gap = gap || spec.kinds[id] == TokenKind::kUnused;
  json::object vocab;
  for (size_t id = 0; id < spec.tokens.size(); ++id)
    if (spec.kinds[id] != TokenKind::kUnused && (id < end || gap)) vocab[spec.tokens[id]] = id;
  return vocab;
}

json::array merges_of(const TokenizerSpec& spec) {
  json::array merges;
  merges.reserve(spec.merges.size());
  for (const auto& [left, right] : spec.merges) merges.emplace_back(cat(left, " ", right));
  return merges;
}

json::array added_tokens_of(const TokenizerSpec& spec) {
  json::array added;
  for (size_t id = 0; id < spec.tokens.size(); ++id)
    if (is_added(spec.kinds[id]))
      added.push_back(json::object{{"id", id},
                                   {"content", spec.tokens[id]},
                                   {"single_word", false},
                                   {"lstrip", false},
                                   {"rstrip", false},
                                   {"normalized", false},
                                   {"special", spec.kinds[id] == TokenKind::kControl}});
  return added;
}

json::object byte_level(bool use_regex) {
  return {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", use_regex}};
}

/// One Split for each step, then bytes to letters; GPT-2's own pattern is a part of that last step.
json::object pretokenizer_of(const TokenizerSpec& spec) {
  std::vector<std::string> patterns = spec.pre.empty() ? spec.patterns : patterns_of(spec.pre);
  const bool gpt2 = !patterns.empty() && patterns.back() == patterns_of("gpt-2")[0];
  if (gpt2) patterns.pop_back();
  json::array steps;
  for (const std::string& pattern : patterns)
    steps.push_back(json::object{
        {"type", "Split"}, {"pattern", json::object{{"Regex", pattern}}}, {"behavior", "Isolated"}, {"invert", false}});
  steps.push_back(byte_level(gpt2));
  return {{"type", "Sequence"}, {"pretokenizers", std::move(steps)}};
}

/// The special tokens that are put around a text.
json::object post_processor_of(const TokenizerSpec& spec) {
  if (!spec.add_bos && !spec.add_eos) return byte_level(false);
  json::object special_tokens;
  const auto step = [&](TokenId id, int type_id) {
    const std::string& token = spec.tokens[static_cast<size_t>(id)];
    special_tokens[token] = json::object{{"id", token}, {"ids", json::array{id}}, {"tokens", json::array{token}}};
    return json::object{{"SpecialToken", json::object{{"id", token}, {"type_id", type_id}}}};
  };
  const auto text = [&](json::array& out, const char* name, int type_id) {
    if (spec.add_bos) out.push_back(step(*spec.bos, type_id));
    out.push_back(json::object{{"Sequence", json::object{{"id", name}, {"type_id", type_id}}}});
    if (spec.add_eos) out.push_back(step(*spec.eos, type_id));
  };
  json::array single, pair;
  text(single, "A", 0);
  text(pair, "A", 0);
  text(pair, "B", 1);
  return {{"type", "TemplateProcessing"},
          {"single", std::move(single)},
          {"pair", std::move(pair)},
          {"special_tokens", std::move(special_tokens)}};
}

std::string tokenizer_json_text(const json::value& tokenizer) {
  return to_json(tokenizer, {.indent = 2, .key_sep = ": "}) + "\n";
}

std::string built_tokenizer(const TokenizerSpec& spec) {
  json::object model{{"type", "BPE"},
                     {"dropout", nullptr},
                     {"unk_token", nullptr},
                     {"continuing_subword_prefix", nullptr},
                     {"end_of_word_suffix", nullptr},
                     {"fuse_unk", false},
                     {"byte_fallback", false},
                     {"ignore_merges", spec.ignore_merges}};
  model["vocab"] = vocab_of(spec);
  model["merges"] = merges_of(spec);
  return tokenizer_json_text(
      json::object{{"version", "1.0"},
                   {"truncation", nullptr},
                   {"padding", nullptr},
                   {"added_tokens", added_tokens_of(spec)},
                   {"normalizer", spec.nfc ? json::value(json::object{{"type", "NFC"}}) : json::value(nullptr)},
                   {"pre_tokenizer", pretokenizer_of(spec)},
                   {"post_processor", post_processor_of(spec)},
                   {"decoder", byte_level(true)},
                   {"model", std::move(model)}});
}

/// The kept file with the pieces and merges put back; of its vocabulary it still has those that are added tokens too.
std::string kept_tokenizer(const GgufMetadata& m, const std::string& text, const TokenizerSpec& spec) {
  json::value value = parse_json(text, cat(m.what(), ": key ", kTokenizerKey));
  const JsonObject kept = JsonObject(value, cat(m.what(), ": key ", kTokenizerKey)).object("model");
  std::vector<std::pair<int64_t, std::string>> pieces;
  const JsonObject vocab = kept.object("vocab");
  for (const auto& [piece, id] : vocab.raw()) pieces.emplace_back(vocab.integer(piece), piece);
  for (size_t id = 0; id < spec.tokens.size(); ++id)
    if (spec.kinds[id] == TokenKind::kNormal) pieces.emplace_back(id, spec.tokens[id]);
  std::sort(pieces.begin(), pieces.end());
  json::object filled;
  for (const auto& [id, piece] : pieces) filled[piece] = id;
  json::object& model = value.as_object()["model"].as_object();
  model["vocab"] = std::move(filled);
  model["merges"] = merges_of(spec);
  return tokenizer_json_text(value);
}

/// Added tokens alone: a loader would cut every "!" out of a text if that piece were named as BOS, which GGUF files
/// whose config.json has a meaningless bos_token_id of 0 do.
json::object named_tokens(const TokenizerSpec& spec) {
  json::object out;
  const auto add = [&](const char* key, const std::optional<TokenId>& id) {
    if (id && is_added(spec.kinds[static_cast<size_t>(*id)])) out[key] = spec.tokens[static_cast<size_t>(*id)];
  };
  add("bos_token", spec.bos);
  add("eos_token", spec.eos);
  add("pad_token", spec.pad);
  return out;
}

/// The chat templates that tokenizer.chat_templates names, beside the default one.
Files named_templates(const GgufMetadata& m, std::vector<std::string>& notes) {
  Files out;
  for (const std::string& name : m.strings("tokenizer.chat_templates")) {
    const std::optional<std::string> text =
        is_template_name(name) ? m.string(cat("tokenizer.chat_template.", name)) : std::nullopt;
    if (text)
      out.emplace_back(name, *text);
    else
      notes.push_back(cat("chat template ", printable(name), " left out: the file has none of a usable name"));
  }
  return out;
}

json::value templates_value(const TokenizerSpec& spec, const Files& more) {
  if (more.empty()) return json::value(spec.chat_template);
  json::array all;
  if (!spec.chat_template.empty()) all.push_back(json::object{{"name", "default"}, {"template", spec.chat_template}});
  for (const auto& [name, text] : more) all.push_back(json::object{{"name", name}, {"template", text}});
  return all;
}

std::string built_config(const TokenizerSpec& spec, const Files& more_templates, size_t context_length) {
  json::object out{{"add_bos_token", spec.add_bos}, {"add_eos_token", spec.add_eos}};
  for (const auto& [key, value] : named_tokens(spec)) out[key] = value;
  out["clean_up_tokenization_spaces"] = false;
  out["model_max_length"] = context_length;
  out["tokenizer_class"] = "PreTrainedTokenizerFast";
  if (!spec.chat_template.empty() || !more_templates.empty())
    out["chat_template"] = templates_value(spec, more_templates);
  return config_text(out);
}

/// The kept tokenizer_config.json, with the file's chat template where it has another.
std::string kept_config(const GgufMetadata& m, const std::string& text, const TokenizerSpec* spec,
                        std::vector<std::string>& notes) {
  if (!spec || m.string("fathom.hf.chat_template") == "chat_template.jinja") return text;
  json::value value = parse_json(text, cat(m.what(), ": key fathom.hf.tokenizer_config.json"));
  const JsonObject config(value, cat(m.what(), ": key fathom.hf.tokenizer_config.json"));
  std::string kept;
  if (const json::value* source = config.find("chat_template")) {
    if (source->is_string()) kept = config.string("chat_template");
    if (const json::array* list = source->if_array())
      for (const json::value& item : *list)
        if (const JsonObject named(item, config.what()); named.string("name") == "default")
          kept = named.string("template");
  }
  if (kept == spec->chat_template) return text;
  notes.push_back(
      "tokenizer_config.json: the chat template is that of tokenizer.chat_template, which differs from what "
      "was kept");
  value.as_object()["chat_template"] = spec->chat_template;
  return config_text(value);
}

/// Whether the kept tokenizer_config.json has all its templates itself.
bool lists_templates(const std::string& config) {
  const json::value value = parse_json(config, "key fathom.hf.tokenizer_config.json");
  const json::value* source = JsonObject(value, "key fathom.hf.tokenizer_config.json").find("chat_template");
  return source && source->is_array();
}

}  // namespace

Files hf_tokenizer_files(const GgufMetadata& m, const std::optional<TokenizerSpec>& given, size_t context_length,
                         std::vector<std::string>& notes) {
  const auto unused = [](TokenKind kind) { return kind == TokenKind::kUnused; };
  const TokenizerSpec* spec =
      given && !std::all_of(given->kinds.begin(), given->kinds.end(), unused) ? &*given : nullptr;
  const std::optional<std::string> kept = m.string(kTokenizerKey), config = m.string("fathom.hf.tokenizer_config.json"),
                                   map = m.string("fathom.hf.special_tokens_map.json");
  const Files more_templates = spec ? named_templates(m, notes) : Files();
  Files files;
  if (!spec) {
    notes.push_back("the file has no tokenizer, so the folder has none");
  } else if (kept) {
    files.emplace_back("tokenizer.json", kept_tokenizer(m, *kept, *spec));
  } else {
    files.emplace_back("tokenizer.json", built_tokenizer(*spec));
    notes.push_back(
        "tokenizer.json was made from the file's keys: the same ids, but not the publisher's file; which "
        "added tokens are special is the GGUF converter's guess");
  }
  if (config)
    files.emplace_back("tokenizer_config.json", kept_config(m, *config, spec, notes));
  else if (spec)
    files.emplace_back("tokenizer_config.json", built_config(*spec, more_templates, context_length));
  if (map)
    files.emplace_back("special_tokens_map.json", *map);
  else if (spec && !kept)
    files.emplace_back("special_tokens_map.json", config_text(named_tokens(*spec)));
  if (spec && m.string("fathom.hf.chat_template") == "chat_template.jinja")
    files.emplace_back("chat_template.jinja", spec->chat_template);
  if (config && !lists_templates(*config))
    for (const auto& [name, text] : more_templates) files.emplace_back(cat(kMoreTemplates, "/", name, ".jinja"), text);
  return files;
}

std::vector<std::string> compare_tokenizers(const std::filesystem::path& folder, const TokenizerSpec& want) {
  if (!std::filesystem::exists(folder / "tokenizer.json")) return {};
  std::optional<TokenizerSpec> got;
  try {
    got = tokenizer_from_folder(folder);
  } catch (const Error& e) {
    return {cat("the folder's tokenizer cannot be read here: ", e.what())};
  }
  std::string differ;
  const auto require = [&](const char* what, bool same) {
    if (!same) differ += cat(differ.empty() ? "" : ", ", what);
  };
  bool tokens = true;
  for (size_t id = 0; id < want.tokens.size(); ++id) {
    const bool used = want.kinds[id] != TokenKind::kUnused;
    const bool has = id < got->tokens.size() && got->kinds[id] != TokenKind::kUnused;
    tokens = tokens && used == has && (!used || want.tokens[id] == got->tokens[id]);
  }
  require("tokens", tokens);
  require("merges", want.merges == got->merges);
  require("pre_tokenizer", want.pre.empty() ? want.patterns == got->patterns : want.pre == got->pre);
  require("ignore_merges", want.ignore_merges == got->ignore_merges);
  require("normalizer", want.nfc == got->nfc);
  // GGUF's bos and eos may be those of config.json alone.
  require("bos", want.add_bos == got->add_bos && (!got->bos || want.bos == got->bos));
  require("eos", want.add_eos == got->add_eos && (!got->eos || want.eos == got->eos));
  require("chat_template", want.chat_template == got->chat_template);
  if (differ.empty()) return {};
  return {cat("the folder's tokenizer differs from the file's keys in: ", differ)};
}

}  // namespace fathom
