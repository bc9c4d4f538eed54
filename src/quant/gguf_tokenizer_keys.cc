#include "quant/gguf_tokenizer_keys.h"

#include <algorithm>

#include "base/error.h"
#include "formats/json_file.h"
#include "formats/tensor_info.h"

namespace fathom {
namespace {

enum TokenType : int32_t { kNormalType = 1, kControlType = 3, kUserDefinedType = 4, kUnusedType = 5 };

std::string padding(size_t id) { return cat("[PAD", id, "]"); }

/// Added tokens that steer a model though their files do not mark them special.
bool looks_special(std::string_view text) {
  for (const std::string_view name : {"<pad>", "<mask>", "<2mass>", "[@BOS@]"})
    if (text == name) return true;
  const auto between = [&](std::string_view open, std::string_view close) {
    return text.size() >= open.size() + close.size() && text.starts_with(open) && text.ends_with(close);
  };
  return between("<|", "|>") || between("<｜", "｜>") || between("<unused", ">");
}

std::string source_of(const TokenizerSpec& spec) { return spec.source.empty() ? "tokenizer.json" : spec.source; }

/// R1's distilled Qwens cut text as Qwen does and have a name of their own.
std::string gguf_pre(const TokenizerSpec& spec) {
  if (spec.pre.empty()) {
    std::string patterns;
    for (const std::string& pattern : spec.patterns) patterns += cat(patterns.empty() ? "" : ", ", printable(pattern));
    throw Error(cat(source_of(spec), ": pre_tokenizer: GGUF has no name for the steps ",
                    patterns.empty() ? "of none" : patterns,
                    "; a file would be cut into other tokens by every reader"));
  }
  if (spec.pre == "qwen2" && spec.bos && spec.tokens[static_cast<size_t>(*spec.bos)] == "<｜begin▁of▁sentence｜>")
    return "deepseek-r1-qwen";
  return spec.pre;
}

/// A space would end the left part; no piece of a byte-level vocabulary has one.
std::string merge_part(std::string part) {
  for (size_t at; (at = part.find(' ')) != std::string::npos;) part.replace(at, 1, "Ġ");
  return part;
}

void set_tokens(GgufKeys& keys, const TokenizerSpec& spec, size_t vocab_size) {
  std::vector<std::string> tokens;
  std::vector<int32_t> types, visible;
  for (size_t id = 0; id < vocab_size; ++id) {
    const bool known = id < spec.tokens.size() && spec.kinds[id] != TokenKind::kUnused;
    tokens.push_back(known ? spec.tokens[id] : padding(id));
    if (!known) {
      types.push_back(kUnusedType);
    } else if (spec.kinds[id] == TokenKind::kNormal) {
      types.push_back(kNormalType);
    } else {
      const bool user = spec.kinds[id] == TokenKind::kUserDefined, control = !user || looks_special(spec.tokens[id]);
      types.push_back(control ? kControlType : kUserDefinedType);
      if (user && control) visible.push_back(static_cast<int32_t>(id));
    }
  }
  keys.set_strings("tokenizer.ggml.tokens", tokens);
  keys.set_i32s("tokenizer.ggml.token_type", types);
  if (!visible.empty()) keys.set_i32s("fathom.tokenizer.visible_tokens", visible);
}

void set_id(GgufKeys& keys, std::string_view name, TokenId id) {
  keys.set_u32(cat("tokenizer.ggml.", name, "_token_id"), static_cast<uint32_t>(id));
}

/// End tokens that a reader would not find by eos or by their names.
void set_more_ends(GgufKeys& keys, const TokenizerSpec& spec, const ModelConfig& config, std::optional<TokenId> eos,
                   std::vector<std::string>& notes) {
  std::vector<const char*> names = {"eom", "eot"};
  for (const int id : config.eos_token_ids) {
    const auto& ends = spec.end_of_generation;
    if (std::find(ends.begin(), ends.end(), id) != ends.end() || (eos && *eos == id)) continue;
    if (names.empty()) {
      notes.push_back(cat("end token ", id, " of generation_config.json has no GGUF key"));
    } else {
      set_id(keys, names.back(), id);
      names.pop_back();
    }
  }
}

/// The id of an added token that a file names by its text, or as an object with its content.
std::optional<TokenId> added_token(const TokenizerSpec& spec, const json::value* token) {
  const json::value* content = token && token->is_object() ? token->get_object().if_contains("content") : token;
  if (!content || !content->is_string()) return std::nullopt;
  for (size_t id = 0; id < spec.tokens.size(); ++id)
    if ((spec.kinds[id] == TokenKind::kControl || spec.kinds[id] == TokenKind::kUserDefined) &&
        content->get_string() == spec.tokens[id])
      return static_cast<TokenId>(id);
  return std::nullopt;
}

std::optional<TokenId> config_token(const TokenizerSpec& spec, const json::value* id) {
  if (!id || !id->is_int64() || id->get_int64() < 0 || static_cast<size_t>(id->get_int64()) >= spec.tokens.size())
    return std::nullopt;
  return static_cast<TokenId>(id->get_int64());
}

using NamedTexts = std::vector<std::pair<std::string, std::string>>;

/// NAME and text of every additional_chat_templates/NAME.jinja, sorted.
NamedTexts templates_of_folder(const std::filesystem::path& folder) {
  NamedTexts out;
  std::error_code none;  // no such folder
  for (const auto& entry : std::filesystem::directory_iterator(folder / kMoreTemplates, none))
    if (entry.path().extension() == ".jinja")
      out.emplace_back(entry.path().stem().string(), read_text_file(entry.path(), kMaxConfigBytes));
  std::sort(out.begin(), out.end());
  return out;
}

/// Those of tokenizer_config.json: [{"name": "tool_use", "template": "..."}]
NamedTexts templates_of_config(const json::value* templates, std::string_view what) {
  NamedTexts out;
  if (!templates || !templates->is_array()) return out;
  for (const json::value& value : templates->get_array()) {
    const JsonObject one(value, cat(what, ": chat_template"));
    out.emplace_back(one.string("name"), one.string("template"));
  }
  return out;
}

/// "default" is the one that every reader has.
void set_named_templates(GgufKeys& keys, const NamedTexts& templates, std::vector<std::string>& notes) {
  std::vector<std::string> names;
  for (const auto& [given, text] : templates) {
    if (given == "default") continue;
    std::string name = given;
    for (char& c : name)
      if (!is_template_name({&c, 1})) c = '_';
    if (!is_template_name(name) || std::find(names.begin(), names.end(), name) != names.end()) {
      notes.push_back(cat("chat template ", printable(given), " left out: ",
                          is_template_name(name) ? "another has its name" : "no such name can stand in a key"));
      continue;
    }
    if (name != given) notes.push_back(cat("chat template ", printable(given), " is named ", name, " in the file"));
    keys.set_string(cat("tokenizer.chat_template.", name), text);
    names.push_back(name);
  }
  if (!names.empty()) keys.set_strings("tokenizer.chat_templates", names);
}

void set_flag_where_other(GgufKeys& keys, const char* key, bool value, bool implied, std::vector<std::string>& notes) {
  if (value == implied) return;
  keys.set_bool(key, value);
  notes.push_back(cat(key, " = ", value ? "true" : "false",
                      " is kept for Fathom; other readers take the opposite from the pre-tokenizer's name"));
}

}  // namespace

bool is_template_name(std::string_view name) {
  constexpr std::string_view kLetters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_";
  return !name.empty() && name.size() <= 64 && name.find_first_not_of(kLetters) == name.npos;
}

void set_tokenizer_keys(GgufKeys& keys, const TokenizerSpec& spec, const ModelConfig& config,
                        std::vector<std::string>& notes) {
  if (spec.tokens.size() > config.vocab_size)
    throw Error(cat(source_of(spec), " has ids up to ", spec.tokens.size() - 1, ", and config.json a vocab_size of ",
                    config.vocab_size));
  keys.set_string("tokenizer.ggml.model", "gpt2");
  keys.set_string("tokenizer.ggml.pre", gguf_pre(spec));
  set_tokens(keys, spec, config.vocab_size);
  std::vector<std::string> merges;
  merges.reserve(spec.merges.size());
  for (const auto& [left, right] : spec.merges) merges.push_back(cat(merge_part(left), " ", merge_part(right)));
  keys.set_strings("tokenizer.ggml.merges", merges);
  std::optional<TokenId> bos = spec.bos, eos = spec.eos;
  if (!bos && config.bos_token_id >= 0) bos = config.bos_token_id;
  if (!eos && !config.eos_token_ids.empty()) eos = config.eos_token_ids[0];
  if (bos) set_id(keys, "bos", *bos);
  if (eos) set_id(keys, "eos", *eos);
  if (spec.pad) set_id(keys, "padding", *spec.pad);
  set_more_ends(keys, spec, config, eos, notes);
  keys.set_bool("tokenizer.ggml.add_bos_token", spec.add_bos);
  keys.set_bool("tokenizer.ggml.add_eos_token", spec.add_eos);
  set_flag_where_other(keys, "fathom.tokenizer.ignore_merges", spec.ignore_merges, spec.pre == "llama-bpe", notes);
  set_flag_where_other(keys, "fathom.tokenizer.nfc", spec.nfc, spec.pre == "qwen2", notes);
  if (!spec.chat_template.empty()) keys.set_string("tokenizer.chat_template", spec.chat_template);
}

void set_more_tokenizer_keys(GgufKeys& keys, const TokenizerSpec& spec, const std::filesystem::path& folder,
                             const JsonObject& config_json, std::vector<std::string>& notes) {
  const std::filesystem::path path = folder / "tokenizer_config.json";
  const json::value value = std::filesystem::exists(path) ? read_bounded_json(path) : json::value(json::object());
  const JsonObject tokenizer_config(value, path.string());
  // "seperator" is how the key is written everywhere.
  constexpr std::pair<const char*, const char*> kTokens[] = {
      {"unk", "unknown"}, {"sep", "seperator"}, {"pad", "padding"}, {"cls", "cls"}, {"mask", "mask"}};
  for (const auto& [name, key] : kTokens) {
    if (keys.has(cat("tokenizer.ggml.", key, "_token_id"))) continue;
    std::optional<TokenId> id = added_token(spec, tokenizer_config.find(cat(name, "_token")));
    if (!id) id = config_token(spec, config_json.find(cat(name, "_token_id")));
    if (id) set_id(keys, key, *id);
  }
  NamedTexts templates = templates_of_folder(folder);
  if (templates.empty()) templates = templates_of_config(tokenizer_config.find("chat_template"), path.string());
  set_named_templates(keys, templates, notes);
}

void set_placeholder_tokenizer_keys(GgufKeys& keys, const ModelConfig& config, std::vector<std::string>& notes) {
  std::vector<std::string> tokens;
  for (size_t id = 0; id < config.vocab_size; ++id) tokens.push_back(padding(id));
  keys.set_string("tokenizer.ggml.model", "gpt2");
  keys.set_string("tokenizer.ggml.pre", "gpt-2");
  keys.set_strings("tokenizer.ggml.tokens", tokens);
  keys.set_i32s("tokenizer.ggml.token_type", std::vector<int32_t>(config.vocab_size, kUnusedType));
  keys.set_strings("tokenizer.ggml.merges", {});
  if (config.bos_token_id >= 0) set_id(keys, "bos", config.bos_token_id);
  if (!config.eos_token_ids.empty()) set_id(keys, "eos", config.eos_token_ids[0]);
  keys.set_bool("tokenizer.ggml.add_bos_token", false);
  notes.push_back(cat("the folder has no tokenizer: ", config.vocab_size,
                      " unused tokens stand for it, and the file cannot read or write text"));
}

}  // namespace fathom
