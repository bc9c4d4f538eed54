#include "quant/convert_to_gguf_about.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <optional>
#include <regex>
#include <set>

#include "base/trimmed.h"

namespace fathom {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kBlanks = " \t\r";
constexpr size_t kMaxName = 256;  // bytes of a name that is taken apart
constexpr size_t kMaxCard = size_t{1} << 20, kMaxListed = 1000;

enum Role { kBasename, kSize, kFinetune, kVersion, kType };

struct NamePart {
  std::string text;
  std::set<Role> roles;
  bool is(Role role) const { return roles.count(role) != 0; }
};

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_letter(char c) { return std::isalpha(static_cast<unsigned char>(c)) != 0; }

bool matches(const std::string& text, const char* pattern) {
  return std::regex_match(text, std::regex(pattern, std::regex::icase));
}

/// "7b1" to "7.1B", "1_5b" to "1.5B".
std::string normal_size(std::string text) {
  std::replace(text.begin(), text.end(), '_', '.');
  if (is_digit(text.back())) {
    const char digit = text.back(), unit = text[text.size() - 2];
    text = text.substr(0, text.size() - 2) + "." + digit + unit;
  }
  if (text.size() > 1 && is_digit(text[text.size() - 2]))
    text.back() = static_cast<char>(std::toupper(static_cast<unsigned char>(text.back())));
  return text;
}

/// Whether a label as "32K" is far from the number of parameters: then it is a context length.
bool is_other_size(const std::string& label, uint64_t parameters) {
  char* end = nullptr;
  const double number = std::strtod(label.c_str(), &end);
  if (parameters == 0 || end != label.c_str() + label.size() - 1) return false;
  const size_t power = std::string_view(" KMBT").find(label.back());
  if (power == std::string_view::npos) return false;
  const double total = static_cast<double>(parameters);
  return std::abs(number * std::pow(1000.0, static_cast<double>(power)) - total) > std::floor(7 * total / 8);
}

void find_role(NamePart& part, bool first, uint64_t parameters) {
  constexpr const char* kSizes = R"((([A]|\d+[x])?\d+([._]\d+)?[KMBT][\d]?|small|mini|medium|large|x?xl))";
  if (matches(part.text, R"((v|iter)?\d+([.]\d+)*)")) {
    part.roles = {kVersion};
  } else if (matches(part.text, R"(i?q\d(_\w)*|b?fp?(16|32))")) {
    part.roles = {kType};
  } else if (!first && matches(part.text, kSizes)) {
    part.text = normal_size(part.text);
    const bool other = is_other_size(part.text, parameters);
    if (other) part.text.back() = static_cast<char>(std::tolower(static_cast<unsigned char>(part.text.back())));
    part.roles = {other ? kFinetune : kSize};
  } else if (!first && matches(part.text, "chat|instruct|vision|lora")) {
    part.roles = {kFinetune};
  }
}

/// "large" is no size beside "7B".
void drop_words_beside_numbers(std::vector<NamePart>& parts) {
  const bool numbers = std::any_of(parts.begin(), parts.end(), [](const NamePart& p) {
    return p.is(kSize) && std::any_of(p.text.begin(), p.text.end(), is_digit);
  });
  for (NamePart& part : parts)
    if (numbers && part.is(kSize) && std::all_of(part.text.begin(), part.text.end(), is_letter)) part.roles.clear();
}

/// The base name is what the name begins with: words and versions; a version at its end is not part of it.
void find_basename(std::vector<NamePart>& parts) {
  bool at_start = true;
  for (NamePart& part : parts) {
    if (at_start && ((part.roles.empty() && is_letter(part.text[0])) || part.is(kVersion))) {
      part.roles.insert(kBasename);
    } else {
      at_start = false;
      if (part.roles.empty()) part.roles.insert(kFinetune);
    }
  }
  for (auto part = parts.rbegin(); part != parts.rend() && part->is(kBasename) && part->roles.size() > 1; ++part)
    part->roles.erase(kBasename);
}

/// A YAML scalar: without quotes, without a comment behind it.
std::string scalar(std::string_view text) {
  std::string out(trimmed(text, kBlanks));
  if (out.size() >= 2 && (out[0] == '"' || out[0] == '\'')) {
    const size_t end = out.find(out[0], 1);
    if (end != std::string::npos) return out.substr(1, end - 1);
  }
  if (const size_t comment = out.find(" #"); comment != std::string::npos)
    out = trimmed(std::string(out, 0, comment), kBlanks);
  return out == "null" || out == "~" ? "" : out;
}

std::vector<std::string> inline_list(std::string_view text) {
  std::vector<std::string> out;
  text = text.substr(1, text.find(']') == std::string_view::npos ? text.size() : text.find(']') - 1);
  while (!text.empty() && out.size() < kMaxListed) {
    const size_t comma = std::min(text.find(','), text.size());
    if (std::string item = scalar(text.substr(0, comma)); !item.empty()) out.push_back(std::move(item));
    text.remove_prefix(std::min(comma + 1, text.size()));
  }
  return out;
}

std::string read_card(const fs::path& folder) {
  std::ifstream in(folder / "README.md", std::ios::binary);
  std::string text(kMaxCard, '\0');
  in.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(in.gcount() > 0 ? static_cast<size_t>(in.gcount()) : 0);
  return text;
}

class General {
 public:
  General(GgufKeys& keys, const fs::path& folder, const std::vector<TensorInfo>& tensors)
      : keys_(keys), folder_(folder), card_(parse_model_card(read_card(folder))) {
    for (const TensorInfo& t : tensors) {
      const uint64_t n = t.shape.count();
      total_ += n;
      const bool stack = t.name.find("_exps.") != std::string::npos && t.shape.rank() == 3;
      if (stack) experts_ = t.shape[0];
      one_expert_ += stack && t.shape[0] ? n / t.shape[0] : n;
    }
  }

  void run(const JsonObject& config_json, const GenerationConfig& generation) {
    set_sampling(generation);
    find_names(config_json);
    for (const char* field :
         {"name", "author", "version", "organization", "finetune", "basename", "description", "size_label"})
      if (!found_[field].empty()) keys_.set_string(cat("general.", field), found_[field]);
    set_license();
    set_origins("base_model", {"base_model", "base_models", "base_model_sources"});
    set_origins("dataset", {"datasets", "dataset", "dataset_sources"});
    set_list("general.tags", {"tags", "pipeline_tag"});
    set_list("general.languages", {"languages", "language"});
  }

 private:
  std::string card(const std::string& field) const {
    const auto it = card_.find(field);
    return it == card_.end() || it->second.empty() ? "" : it->second[0];
  }

  void set_sampling(const GenerationConfig& g) {
    if (g.top_k) keys_.set_i32("general.sampling.top_k", *g.top_k);
    const auto number = [&](const char* name, const std::optional<double>& x) {
      if (x) keys_.set_f32(cat("general.sampling.", name), static_cast<float>(*x));
    };
    number("top_p", g.top_p);
    number("min_p", g.min_p);
    number("temp", g.temperature);
    number("penalty_repeat", g.repetition_penalty);
  }

  /// The card's word counts first, then _name_or_path where it is a name and no path, then the folder's name.
  void find_names(const JsonObject& config_json) {
    for (const char* field :
         {"name", "author", "version", "organization", "description", "finetune", "basename", "size_label"}) {
      found_[field] = card(field);
      if (found_[field].empty()) found_[field] = card(cat("model_", field));
    }
    if (found_["author"].empty()) found_["author"] = card("model_creator");
    if (found_["basename"].empty()) found_["basename"] = card("model_type");
    const json::value* path = config_json.raw().if_contains("_name_or_path");
    if (path && path->is_string() && std::count(path->get_string().begin(), path->get_string().end(), '/') <= 1)
      take(parse_model_name(std::string(path->get_string()), total_));
    const std::string name = folder_name();
    take(parse_model_name(name, total_));
    if (found_["name"].empty()) found_["name"] = name;
    if (found_["size_label"].empty() && total_)
      found_["size_label"] = experts_ ? size_label(one_expert_, experts_) : size_label(total_, 0);
  }

  std::string folder_name() const {
    std::error_code error;
    const fs::path whole = fs::weakly_canonical(folder_, error);
    const std::string name = (error ? folder_ : whole).filename().string();
    return name.empty() ? "model" : name;
  }

  void take(const ModelNameParts& parts) {
    const auto fill = [&](const char* field, const std::string& value) {
      if (found_[field].empty()) found_[field] = value;
    };
    fill("name", title_from_name(parts.name));
    fill("organization", title_from_name(parts.organization));
    fill("basename", parts.basename);
    fill("finetune", parts.finetune);
    fill("version", parts.version);
    fill("size_label", parts.size_label);
  }

  void set_license() {
    if (const auto it = card_.find("license"); it != card_.end() && !it->second.empty()) {
      std::string all;
      for (const std::string& one : it->second) all += (all.empty() ? "" : ",") + one;
      keys_.set_string("general.license", all);
    }
    if (const std::string name = card("license_name"); !name.empty()) keys_.set_string("general.license.name", name);
    if (const std::string link = card("license_link"); !link.empty()) keys_.set_string("general.license.link", link);
  }

  /// Models or data sets that this one comes from, by their names on the hub.
  void set_origins(const std::string& what, std::initializer_list<const char*> fields) {
    for (const char* field : fields) {
      const auto it = card_.find(field);
      if (it == card_.end() || it->second.empty()) continue;
      keys_.set_u32(cat("general.", what, ".count"), static_cast<uint32_t>(it->second.size()));
      for (size_t i = 0; i < it->second.size(); ++i) set_origin(cat("general.", what, ".", i, "."), it->second[i]);
      return;
    }
  }

  void set_origin(const std::string& prefix, const std::string& id) {
    if (id.find("://") != std::string::npos) return keys_.set_string(prefix + "repo_url", id);
    const ModelNameParts parts = parse_model_name(id, total_);
    if (!parts.name.empty()) keys_.set_string(prefix + "name", title_from_name(parts.name));
    if (!parts.version.empty()) keys_.set_string(prefix + "version", parts.version);
    if (parts.organization.empty()) return;
    keys_.set_string(prefix + "organization", title_from_name(parts.organization));
    keys_.set_string(prefix + "repo_url", "https://huggingface.co/" + id);
  }

  void set_list(const char* key, std::initializer_list<const char*> fields) {
    std::vector<std::string> all;
    for (const char* field : fields)
      if (const auto it = card_.find(field); it != card_.end())
        all.insert(all.end(), it->second.begin(), it->second.end());
    if (!all.empty()) keys_.set_strings(key, all);
  }

  GgufKeys& keys_;
  const fs::path& folder_;
  std::map<std::string, std::vector<std::string>> card_;
  std::map<std::string, std::string> found_;
  uint64_t total_ = 0, one_expert_ = 0;
  size_t experts_ = 0;
};

}  // namespace

ModelNameParts parse_model_name(std::string_view id, uint64_t parameters) {
  ModelNameParts out;
  if (id.empty() || id.size() > kMaxName) return out;
  if (id.find(' ') != std::string_view::npos) {  // a sentence
    out.name = std::string(id);
    return out;
  }
  const size_t slash = id.find('/');
  if (slash != std::string_view::npos && id[0] != '.') out.organization = std::string(id.substr(0, slash));
  out.name = std::string(slash == std::string_view::npos ? id : id.substr(slash + 1));
  std::vector<NamePart> parts;
  for (size_t begin = 0; begin <= out.name.size();) {
    const size_t end = std::min(out.name.find('-', begin), out.name.size());
    if (end > begin) parts.push_back({out.name.substr(begin, end - begin), {}});
    begin = end + 1;
  }
  for (NamePart& part : parts) find_role(part, &part == parts.data(), parameters);
  drop_words_beside_numbers(parts);
  find_basename(parts);
  const auto add = [](std::string& to, const std::string& text) { to += (to.empty() ? "" : "-") + text; };
  std::set<std::string> sizes;
  for (const NamePart& part : parts) {
    if (part.is(kBasename)) add(out.basename, part.text);
    if (part.is(kSize) && sizes.insert(part.text).second) add(out.size_label, part.text);
    if (part.is(kFinetune)) add(out.finetune, part.text);
    if (part.is(kVersion) && !part.is(kBasename)) add(out.version, part.text);
  }
  if (out.size_label.empty() && out.finetune.empty() && out.version.empty()) out.basename.clear();
  return out;
}

std::string title_from_name(std::string_view name) {
  std::string out;
  size_t at = 0;
  while (at < name.size()) {
    const size_t end = std::min(name.find_first_of("- ", at), name.size());
    std::string word(name.substr(at, end - at));
    at = end + 1;
    if (word.empty()) continue;
    const bool lower = std::any_of(word.begin(), word.end(), is_letter) &&
                       std::none_of(word.begin(), word.end(), [](unsigned char c) { return std::isupper(c); });
    if (lower && !is_digit(word[0]) && !std::regex_match(word, std::regex(R"(v\d+(?:\.\d+)*)")))
      for (size_t i = 0; i < word.size(); ++i)
        if (i == 0 || !is_letter(word[i - 1]))
          word[i] = static_cast<char>(std::toupper(static_cast<unsigned char>(word[i])));
    out += (out.empty() ? "" : " ") + word;
  }
  return out;
}

std::map<std::string, std::vector<std::string>> parse_model_card(std::string_view readme) {
  std::map<std::string, std::vector<std::string>> card;
  std::vector<std::string>* list = nullptr;  // null: no list is open
  bool first = true;
  while (!readme.empty()) {
    const size_t end = std::min(readme.find('\n'), readme.size());
    std::string_view line = readme.substr(0, end);
    readme.remove_prefix(std::min(end + 1, readme.size()));
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (first && line != "---") return {};
    if (!first && line == "---") return card;
    if (std::exchange(first, false)) continue;
    const std::string text(trimmed(line, kBlanks));
    if (text.starts_with("- ")) {
      std::string item = scalar(std::string_view(text).substr(2));
      if (list && list->size() < kMaxListed && item.find(": ") == std::string::npos) list->push_back(std::move(item));
      continue;
    }
    const size_t colon = line.find(':');
    if (line.empty() || line[0] == ' ' || line[0] == '\t' || line[0] == '#' || colon == std::string_view::npos)
      continue;
    std::vector<std::string>& values = card[std::string(line.substr(0, colon))];
    const std::string value(trimmed(std::string_view(line).substr(colon + 1), kBlanks));
    values.clear();
    list = value.empty() ? &values : nullptr;
    if (value.starts_with("["))
      values = inline_list(value);
    else if (std::string one = scalar(value); !one.empty())
      values.push_back(std::move(one));
  }
  return {};  // never closed: no card
}

std::string size_label(uint64_t parameters, size_t experts) {
  constexpr std::pair<double, char> kUnits[] = {{1e12, 'T'}, {1e9, 'B'}, {1e6, 'M'}, {0, 'K'}};
  const double n = static_cast<double>(parameters);
  const auto unit = std::find_if(std::begin(kUnits), std::end(kUnits), [&](const auto& u) { return n > u.first; });
  const double scaled = n / std::max(unit == std::end(kUnits) ? 0 : unit->first, 1e3);
  const int decimals = std::nearbyint(scaled) >= 10 ? 0 : std::nearbyint(scaled) >= 1 ? 1 : 2;
  char text[64];
  std::snprintf(text, sizeof text, "%.*f%c", decimals, scaled, unit == std::end(kUnits) ? 'K' : unit->second);
  return experts ? cat(experts, "x", text) : text;
}

void set_general_keys(GgufKeys& keys, const fs::path& folder, const std::string& architecture,
                      const JsonObject& config_json, const GenerationConfig& generation,
                      const std::vector<TensorInfo>& tensors) {
  keys.set_string("general.architecture", architecture);
  keys.set_string("general.type", "model");
  General(keys, folder, tensors).run(config_json, generation);
}

}  // namespace fathom
