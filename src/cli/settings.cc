#include "cli/settings.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>

#include "base/error.h"
#include "base/toml.h"

namespace fathom {
namespace {

constexpr SettingSpec kSpecs[] = {
    {"profile", SettingKind::kChoice, "exact|int8|bf16", "FATHOM_PROFILE", "by the model's file",
     "how linears are computed"},
    {"cache-type", SettingKind::kChoice, "f32|bf16|q8", nullptr, "f32 for exact, else bf16",
     "type of the KV cache; q8: 9 bits a value"},
    {"kernels", SettingKind::kText, "", "FATHOM_KERNELS", "the best for this processor",
     "kernel table: ref, avx2, avx512, neon"},
    {"threads", SettingKind::kCount, "", "FATHOM_THREADS", "physical cores", "threads to compute with", 1, 4096},
    {"adapter", SettingKind::kText, "", nullptr, "none", "folder of a LoRA adapter (peft's format) for the model"},
    {"repack-cache", SettingKind::kChoice, "auto|off", nullptr, "auto",
     "keep weights as kernels read them, for faster starts"},
    {"ctx", SettingKind::kCount, "", nullptr, "what fits into 60% of free memory", "positions of the context", 1, 1e9},
    {"temperature", SettingKind::kNumber, "", nullptr, "generation_config.json, else 0.6",
     "0 takes the most likely token", 0, 1e6},
    {"top-p", SettingKind::kNumber, "", nullptr, "generation_config.json, else 0.95",
     "keep the fewest tokens that reach this probability", 0, 1},
    {"top-k", SettingKind::kCount, "", nullptr, "generation_config.json, else all",
     "keep the k most likely tokens, 0: all", 0, 1e9},
    {"min-p", SettingKind::kNumber, "", nullptr, "generation_config.json, else 0",
     "keep tokens at least this likely, relative to the best", 0, 1},
    {"repetition-penalty", SettingKind::kNumber, "", nullptr, "generation_config.json, else 1",
     "divide the logits of tokens seen", 0, 1e6},
    {"presence-penalty", SettingKind::kNumber, "", nullptr, "0", "subtract from tokens that were generated", -1e6, 1e6},
    {"frequency-penalty", SettingKind::kNumber, "", nullptr, "0", "subtract per time a token was generated", -1e6, 1e6},
    {"seed", SettingKind::kCount, "", nullptr, "random, and printed", "the same seed gives the same text", 0,
     18446744073709551615.0},
    {"max-tokens", SettingKind::kCount, "", nullptr, "what the context leaves", "new tokens per answer", 1, 1e9},
    {"think", SettingKind::kChoice, "on|off", nullptr, "on, where the template has a switch",
     "let the model think first"},
    {"budget", SettingKind::kCount, "", nullptr, "none", "tokens of thinking, then the answer begins", 0, 1e9},
    {"language", SettingKind::kText, "", nullptr, "none",
     "thinking and answer keep to its script: latin, cyrillic, han, ..., or a code such as en"},
    {"speculate", SettingKind::kChoice, "auto|off", nullptr, "auto",
     "guess tokens where it pays; the same text, sooner"},
    {"system", SettingKind::kText, "", nullptr, "none", "the system message"},
    {"host", SettingKind::kText, "", nullptr, "127.0.0.1", "the address to listen on; 0.0.0.0: all of the machine's"},
    {"port", SettingKind::kCount, "", nullptr, "8000", "the port to listen on, 0: a free one", 0, 65535},
    {"keys", SettingKind::kText, "", nullptr, "none, and FATHOM_API_KEY if that is set",
     "a file of keys, one a line, perhaps behind a name; who asks needs one"},
    {"cors", SettingKind::kText, "", nullptr, "none", "origins whose web pages may call, by commas; *: all"},
    {"allowed-hosts", SettingKind::kText, "", nullptr, "those of this machine",
     "names that the server answers to, by commas"},
    {"max-requests", SettingKind::kCount, "", nullptr, "512", "answers that run or wait; others hear 429", 1, 1e6},
    {"deepseek-strict", SettingKind::kChoice, "on|off", nullptr, "off", "refuse what DeepSeek's own API refuses"},
    {"access-log", SettingKind::kText, "", nullptr, "stderr",
     "a line of JSON per request, without its texts: stderr, off, or a file"},
    {"store", SettingKind::kText, "", nullptr, "store.sqlite in the state folder",
     "the file that keeps answers and files; none: in memory"},
    {"endpoint", SettingKind::kText, "", "HF_ENDPOINT", "https://huggingface.co", "the model hub, or a mirror of it"},
    {"pulls", SettingKind::kChoice, "on|off", nullptr, "on for this machine only, without allowed-hosts",
     "the page may pull and remove models, and shows all that are installed"},
    {"log", SettingKind::kChoice, "debug|info|warning|error|off", nullptr, "warning", "what the log says on stderr"},
};

const SettingSpec* find_spec(std::string_view name) {
  for (const SettingSpec& spec : kSpecs)
    if (spec.name == name) return &spec;
  return nullptr;
}

std::optional<uint64_t> to_count(std::string_view text) {
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::optional<double> to_number(std::string_view text) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size() || !std::isfinite(value)) return std::nullopt;
  return value;
}

std::string show(double x) { return fathom::to_json(json::value(x)); }

bool in_choices(std::string_view choices, std::string_view value) {
  while (true) {
    const size_t end = choices.find('|');
    if (choices.substr(0, end) == value) return true;
    if (end == std::string_view::npos) return false;
    choices.remove_prefix(end + 1);
  }
}

/// What was expected, where `value` is not it; empty: it is fine.
std::string expectation(const SettingSpec& spec, const std::string& value) {
  if (spec.kind == SettingKind::kText) return "";
  if (spec.kind == SettingKind::kChoice) {
    if (in_choices(spec.choices, value)) return "";
    std::string text = "one of ";
    for (const char c : std::string_view(spec.choices)) text += c == '|' ? std::string(", ") : std::string(1, c);
    return text;
  }
  const bool whole = spec.kind == SettingKind::kCount;
  const std::optional<double> x = whole ? to_count(value) ? to_number(value) : std::nullopt : to_number(value);
  if (x && *x >= spec.least && *x <= spec.most) return "";
  return cat(whole ? "a whole number" : "a number", " from ", show(spec.least),
             spec.most < 1e9 ? cat(" to ", show(spec.most)) : "");
}

std::string value_text(const toml::node& node, const std::string& where) {
  if (const auto* s = node.as_string()) return s->get();
  if (const auto* i = node.as_integer()) return std::to_string(i->get());
  if (const auto* f = node.as_floating_point()) return show(f->get());
  if (const auto* b = node.as_boolean()) return b->get() ? "on" : "off";
  throw UsageError(cat(where, ": expected a string, number or boolean, found another kind of value"));
}

void read_config(const std::filesystem::path& path, Settings& settings) {
  const std::string text = read_text_file(path, 1 << 20);
  toml::table table;
  try {
    table = parse_toml(text, path.string());
  } catch (const Error& e) {
    throw UsageError(e.what());
  }
  for (const auto& [key, node] : table) {
    std::string name(key.str());
    std::replace(name.begin(), name.end(), '_', '-');
    const std::string where = cat(path.string(), ":", node.source().begin.line, ": ", key.str());
    if (!find_spec(name))
      throw UsageError(
          cat(where, ": expected the name of a setting (`fathom config` lists them), found an unknown key"));
    settings.set(name, value_text(node, where), path.string());
  }
}

}  // namespace

std::span<const SettingSpec> setting_specs() { return kSpecs; }

Settings Settings::load(const std::filesystem::path& config_toml) {
  Settings settings;
  if (std::error_code error; std::filesystem::exists(config_toml, error)) read_config(config_toml, settings);
  for (const SettingSpec& spec : kSpecs)
    if (const char* value = spec.environment ? std::getenv(spec.environment) : nullptr; value && *value)
      settings.set(spec.name, value, spec.environment);
  return settings;
}

void Settings::set(std::string_view name, const std::string& value, const std::string& source) {
  const SettingSpec* spec = find_spec(name);
  check(spec != nullptr, "settings are set by their names in the table");
  const std::string wanted = expectation(*spec, value);
  const bool named = source.ends_with(name) || source == (spec->environment ? spec->environment : "");
  if (!wanted.empty())
    throw UsageError(cat(source, named ? "" : cat(": ", name), ": expected ", wanted, ", found '", value, "'"));
  entries_[std::string(name)] = {value, source};
}

const Settings::Entry* Settings::find(std::string_view name) const {
  check(find_spec(name) != nullptr, "settings are asked for by their names in the table");
  const auto it = entries_.find(name);
  return it == entries_.end() ? nullptr : &it->second;
}

std::optional<std::string> Settings::text(std::string_view name) const {
  const Entry* entry = find(name);
  return entry ? std::optional(entry->value) : std::nullopt;
}
std::optional<uint64_t> Settings::count(std::string_view name) const {
  const Entry* entry = find(name);
  return entry ? to_count(entry->value) : std::nullopt;
}
std::optional<double> Settings::number(std::string_view name) const {
  const Entry* entry = find(name);
  return entry ? to_number(entry->value) : std::nullopt;
}

json::object Settings::to_json() const {
  json::object out;
  for (const SettingSpec& spec : kSpecs) {
    const Entry* entry = find(spec.name);
    out[spec.name] = {{"value", entry ? entry->value : spec.by_default}, {"source", entry ? entry->source : "default"}};
  }
  return out;
}

}  // namespace fathom
