#include "cli/inspect_texts.h"

#include <algorithm>
#include <map>
#include <set>
#include <sstream>

#include "base/trimmed.h"
#include "cli/inspect_report.h"
#include "formats/tokenizer_gguf.h"
#include "formats/tokenizer_json.h"
#include "hub/model_folder.h"
#include "hub/sha.h"
#include "text/chat_template.h"
#include "text/utf8.h"

namespace fathom {
namespace {

namespace fs = std::filesystem;

// A sample is small; a template that wants more than this for it is not worth waiting for.
constexpr RenderLimits kSampleLimits{
    .steps = 1'000'000, .bytes = uint64_t{16} << 20, .output_bytes = uint64_t{64} << 10};
constexpr uint64_t kFrontMatter = 64 << 10;
constexpr uint64_t kMaxTemplate = uint64_t{4} << 20;

fs::path folder_of(const ModelHeader& header) {
  return header.kind == ModelHeader::Kind::kFolder ? header.path : fs::absolute(header.path).parent_path();
}

std::string sha256(std::string_view text) {
  Sha256 hash;
  hash.update(text);
  return hash.hex();
}

std::string token_text(const TokenizerSpec& spec, TokenId id) {
  return id >= 0 && static_cast<size_t>(id) < spec.tokens.size() ? utf8_lossy(spec.tokens[static_cast<size_t>(id)])
                                                                 : "";
}

json::object token_json(const TokenizerSpec& spec, TokenId id) { return {{"id", id}, {"text", token_text(spec, id)}}; }

/// bos, eos, pad, and every other role that GGUF's keys name: "tokenizer.ggml.eot_token_id".
json::array special_tokens(const ModelHeader& header, const TokenizerSpec& spec) {
  json::array out;
  std::set<std::string> roles;
  const auto add = [&](const std::string& role, TokenId id) {
    if (!roles.insert(role).second) return;
    json::object entry{{"role", utf8_lossy(role)}};
    for (const auto& [key, value] : token_json(spec, id)) entry[key] = value;
    out.push_back(std::move(entry));
  };
  if (spec.bos) add("bos", *spec.bos);
  if (spec.eos) add("eos", *spec.eos);
  if (spec.pad) add("pad", *spec.pad);
  if (!header.gguf) return out;
  constexpr std::string_view kPrefix = "tokenizer.ggml.", kSuffix = "_token_id";
  for (const GgufMetadata::Entry& entry : header.gguf->entries()) {
    const std::string& key = entry.key;
    if (!key.starts_with(kPrefix) || !key.ends_with(kSuffix) || key.size() <= kPrefix.size() + kSuffix.size()) continue;
    std::string role = key.substr(kPrefix.size(), key.size() - kPrefix.size() - kSuffix.size());
    if (role == "padding") role = "pad";
    const std::vector<int64_t> ids = header.gguf->integers(key);
    if (ids.size() == 1 && ids[0] >= 0 && ids[0] < INT32_MAX) add(role, static_cast<TokenId>(ids[0]));
  }
  return out;
}

/// Tokens that text cannot spell: how many there are, and the first of them.
json::object control_tokens(const TokenizerSpec& spec) {
  constexpr size_t kMostListed = 64;
  json::array first;
  size_t count = 0;
  for (size_t id = 0; id < spec.kinds.size(); ++id)
    if (spec.kinds[id] == TokenKind::kControl && ++count <= kMostListed)
      first.push_back(token_json(spec, static_cast<TokenId>(id)));
  return {{"count", count}, {"first", std::move(first)}};
}

json::object tokenizer_json(const ModelHeader& header, const TokenizerSpec& spec) {
  json::array ends;
  for (const TokenId id : spec.end_of_generation) ends.push_back(token_json(spec, id));
  return {{"tokens", spec.tokens.size()},    {"merges", spec.merges.size()},
          {"pre", utf8_lossy(spec.pre)},     {"add_bos", spec.add_bos},
          {"add_eos", spec.add_eos},         {"special", special_tokens(header, spec)},
          {"control", control_tokens(spec)}, {"end_of_generation", std::move(ends)}};
}

/// One turn of a user's, as the template writes it.
void render_sample(const TokenizerSpec& spec, json::object& out) {
  RenderOptions options;
  options.messages = {{{"role", "user"}, {"content", "Hello!"}}};
  if (spec.bos) options.bos_token = token_text(spec, *spec.bos);
  if (spec.eos) options.eos_token = token_text(spec, *spec.eos);
  try {
    const ChatTemplate chat_template(spec.chat_template);
    out["rendered"] = utf8_lossy(joined(chat_template.render(options, kSampleLimits)));
  } catch (const Error& e) {
    out["render_problem"] = utf8_lossy(e.what());
  }
}

/// The template's source where the tokenizer around it cannot be read.
std::string bare_template(const ModelHeader& header) {
  if (header.gguf) return gguf_text(*header.gguf, "tokenizer.chat_template");
  const fs::path path = folder_of(header) / "chat_template.jinja";
  std::error_code ignored;
  return header.kind == ModelHeader::Kind::kFolder && fs::exists(path, ignored) ? read_text_file(path, kMaxTemplate)
                                                                                : "";
}

void add_tokenizer(const ModelHeader& header, json::object& report) {
  report["tokenizer"] = nullptr;
  report["chat_template"] = nullptr;
  const auto template_alone = [&]() -> std::string {
    try {
      return bare_template(header);
    } catch (const Error& e) {
      report["chat_template"] = json::object{{"problem", utf8_lossy(e.what())}};
      return "";
    }
  };
  TokenizerSpec spec;
  try {
    std::optional<TokenizerSpec> found;
    if (header.gguf)
      found = tokenizer_from_gguf(*header.gguf);
    else if (header.kind == ModelHeader::Kind::kFolder)
      found = tokenizer_from_folder(header.path);
    if (found) {
      spec = std::move(*found);
      report["tokenizer"] = tokenizer_json(header, spec);
    } else {
      spec.chat_template = template_alone();
    }
  } catch (const Error& e) {
    report["tokenizer"] = json::object{{"problem", utf8_lossy(e.what())}};
    spec.chat_template = template_alone();
  }
  if (spec.chat_template.empty()) return;
  json::object out{{"bytes", spec.chat_template.size()}, {"sha256", sha256(spec.chat_template)}};
  render_sample(spec, out);
  report["chat_template"] = std::move(out);
}

std::string plain_value(std::string_view text) { return utf8_lossy(trimmed(text, " \t\r\"'")); }

/// "key: value" lines between the two "---" at the top of a README.md; of a list its first item.
std::map<std::string, std::string> front_matter(const fs::path& readme) {
  std::map<std::string, std::string> out;
  std::error_code none;
  if (!fs::is_regular_file(readme, none)) return out;
  const InputFile file(readme);
  std::string text(std::min(kFrontMatter, file.size()), '\0');
  file.read(0, text.data(), text.size());
  std::istringstream lines(text);
  std::string line, key;
  if (!std::getline(lines, line) || plain_value(line) != "---") return out;
  while (std::getline(lines, line) && plain_value(line) != "---") {
    const size_t colon = line.find(':');
    if (line.starts_with("- ") && !key.empty() && out[key].empty())
      out[key] = plain_value(std::string_view(line).substr(2));
    else if (colon != std::string::npos && line.front() != ' ' && line.front() != '-')
      out[key = plain_value(std::string_view(line).substr(0, colon))] =
          plain_value(std::string_view(line).substr(colon + 1));
  }
  return out;
}

json::object license_json(const std::string& id, const std::string& name, const std::string& link, const char* source) {
  json::object out{{"license", id}};
  if (!name.empty()) out["name"] = name;
  if (!link.empty()) out["link"] = link;
  out["source"] = source;
  return out;
}

/// general.license of a GGUF file, else the front matter of README.md beside the model, else config.json's "license".
json::value license_of(const ModelHeader& header) {
  const auto key = [&](const char* name) { return utf8_lossy(header.gguf->string(name).value_or("")); };
  if (header.gguf && header.gguf->has("general.license"))
    return license_json(key("general.license"), key("general.license.name"), key("general.license.link"),
                        "general.license");
  std::map<std::string, std::string> card = front_matter(folder_of(header) / "README.md");
  if (!card["license"].empty())
    return license_json(card["license"], card["license_name"], card["license_link"], "README.md");
  if (const json::object* config = header.config_json.if_object())
    if (const json::value* value = config->if_contains("license"); value && value->is_string())
      return license_json(utf8_lossy(std::string_view(value->get_string())), "", "", "config.json");
  return nullptr;
}

}  // namespace

void add_texts(const ModelHeader& header, json::object& report) {
  add_tokenizer(header, report);
  try {
    report["license"] = license_of(header);
  } catch (const Error& e) {  // a key of another type
    report["license"] = json::object{{"problem", utf8_lossy(e.what())}};
  }
}

void add_pull_record(const ModelHeader& header, json::object& report) {
  report["pull"] = nullptr;
  try {
    const std::optional<PullRecord> record = PullRecord::read(folder_of(header) / ".fathom" / "pull.json");
    if (!record) return;
    report["pull"] = json::object{{"repository", utf8_lossy(record->repository)},
                                  {"revision", utf8_lossy(record->revision)},
                                  {"commit", utf8_lossy(record->commit)}};
    for (json::value& file : report.at("files").as_array())
      if (const PulledFile* pulled = record->find(std::string(file.at("name").as_string()));
          pulled && !pulled->sha256.empty())
        file.as_object()["recorded_sha256"] = utf8_lossy(pulled->sha256);
  } catch (const Error& e) {
    report["pull"] = json::object{{"problem", utf8_lossy(e.what())}};
  }
}

}  // namespace fathom
