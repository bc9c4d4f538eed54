#include "train/recipe.h"

#include <cmath>

#include "base/error.h"
#include "base/json.h"
#include "base/toml.h"
#include "text/utf8.h"
#include "train/recipe_table.h"

namespace fathom {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kMaxRecipeBytes = uint64_t{1} << 20;

/// Where a value came from.
struct Source {
  std::string where;  ///< "recipe.toml:3: seed", "--set seed=x"
  fs::path base;      ///< of relative paths
};

std::string found_text(const toml::node& node) {
  if (const auto* s = node.as_string()) {
    const std::string& text = s->get();
    return text.size() <= 80 ? "'" + text + "'" : cat("a string of ", text.size(), " bytes");
  }
  if (const auto* i = node.as_integer()) return std::to_string(i->get());
  if (const auto* f = node.as_floating_point()) return to_json(json::value(f->get()));
  if (const auto* b = node.as_boolean()) return b->get() ? "true" : "false";
  if (node.is_table()) return "a table";
  if (const auto* a = node.as_array()) return cat("a list of ", a->size());
  return "a date or time";
}

/// The path made absolute; words and empty texts stay, and names of models where there is no such file.
std::string resolved(const RecipeKey& key, const std::string& text, const fs::path& base) {
  if (text.empty() || key.text == RecipeText::kPlain || key.text == RecipeText::kChoice || is_word_of(key.words, text))
    return text;
  const fs::path path = (base / text).lexically_normal();
  std::error_code unknown;
  return key.text == RecipeText::kModel && !fs::exists(path, unknown) ? text : path.string();
}

bool in_range(const RecipeKey& key, double x) { return std::isfinite(x) && x >= key.least && x <= key.most; }

std::optional<double> number_of(const RecipeKey& key, const toml::node* node) {
  const std::optional<double> x = node && node->is_number() ? node->value<double>() : std::nullopt;
  return x && in_range(key, *x) ? x : std::nullopt;
}

/// Stores the node's value behind a slot; false: it is none of the key's values.
struct Store {
  const RecipeKey& key;
  const toml::node& node;
  const fs::path& base;

  bool operator()(std::string* out) const {
    const auto* text = node.as_string();
    if (!text || (key.text == RecipeText::kChoice && !is_word_of(key.words, text->get()))) return false;
    *out = resolved(key, text->get(), base);
    return true;
  }
  bool operator()(int64_t* out) const {
    const auto* number = node.as_integer();
    if (!number || !in_range(key, static_cast<double>(number->get()))) return false;
    *out = number->get();
    return true;
  }
  bool operator()(double* out) const {
    const std::optional<double> x = number_of(key, &node);
    if (x) *out = *x;
    return x.has_value();
  }
  bool operator()(bool* out) const {
    const auto* truth = node.as_boolean();
    if (truth) *out = truth->get();
    return truth != nullptr;
  }
  bool operator()(std::array<double, 2>* out) const {
    const auto* list = node.as_array();
    if (!list || list->size() != 2) return false;
    const std::optional<double> first = number_of(key, list->get(0)), second = number_of(key, list->get(1));
    if (first && second) *out = {*first, *second};
    return first && second;
  }
  bool operator()(std::vector<std::string>* out) const {
    const auto* list = node.as_array();
    if (!list) return false;
    std::vector<std::string> texts;
    for (const toml::node& item : *list) {
      const auto* text = item.as_string();
      if (!text) return false;
      texts.push_back(resolved(key, text->get(), base));
    }
    *out = std::move(texts);
    return true;
  }
};

void set_key(Recipe& recipe, const RecipeKey& key, const toml::node& node, const Source& source) {
  if (!std::visit(Store{key, node, source.base}, key.slot(recipe)))
    throw Error(cat(source.where, ": expected ", expectation(key), ", found ", found_text(node)));
}

[[noreturn]] void unknown_key(std::string_view where, std::string_view section, std::string_view key) {
  throw Error(cat(where, ": expected a key of a recipe, found an unknown one (the nearest known is ",
                  nearest_recipe_key(section, key), ")"));
}

const RecipeKey& known_key(std::string_view section, std::string_view key, std::string_view where) {
  const RecipeKey* known = find_recipe_key(section, key);
  if (!known) unknown_key(where, section, key);
  return *known;
}

void read_file(Recipe& recipe, const fs::path& path) {
  const toml::table file = parse_toml(read_text_file(path, kMaxRecipeBytes), path.string());
  const fs::path base = fs::absolute(path).parent_path();
  const auto read_value = [&](std::string_view section, std::string_view key, const toml::node& node) {
    const std::string name = section.empty() ? std::string(key) : cat(section, ".", key);
    const std::string where = cat(path.string(), ":", node.source().begin.line, ": ", name);
    set_key(recipe, known_key(section, key, where), node, {where, base});
  };
  for (const auto& [name, node] : file) {
    const toml::table* section = node.as_table();
    if (!section && is_recipe_section(name.str()))
      throw Error(cat(path.string(), ":", node.source().begin.line, ": ", name.str(), ": expected a section [",
                      name.str(), "], found ", found_text(node)));
    if (!section || find_recipe_key("", name.str())) {
      read_value("", name.str(), node);
    } else if (section->empty() && !is_recipe_section(name.str())) {
      unknown_key(cat(path.string(), ":", node.source().begin.line, ": [", name.str(), "]"), "", name.str());
    } else {
      for (const auto& [key, value] : *section) read_value(name.str(), key.str(), value);
    }
  }
}

/// "text" as a TOML value; a list where the key takes one and a string came; the text itself where it is no TOML, or
/// where a string is wanted.
toml::table override_value(const RecipeKey& key, const std::string& text) {
  Recipe any;
  const RecipeSlot slot = key.slot(any);
  const bool list = std::holds_alternative<std::vector<std::string>*>(slot);
  toml::table parsed;
  try {
    parsed = parse_toml("value = " + text, "");
  } catch (const Error&) {
    parsed.clear();
  }
  const bool one_value = parsed.size() == 1 && parsed.contains("value");
  if (!one_value || (std::holds_alternative<std::string*>(slot) && !parsed.get("value")->is_string()))
    parsed = toml::table{{"value", text}};
  if (list && parsed.get("value")->is_string())
    parsed = toml::table{{"value", toml::array{parsed.get("value")->as_string()->get()}}};
  return parsed;
}

void apply_override(Recipe& recipe, const std::string& text) {
  const std::string where = "--set " + text;
  if (valid_utf8_prefix(text) != text.size()) throw Error(cat(where, ": expected UTF-8, found other bytes"));
  const size_t equals = text.find('=');
  if (equals == std::string::npos) throw Error(cat(where, ": expected key=value, found no '='"));
  const std::string name = text.substr(0, equals);
  const size_t dot = name.find('.');
  const std::string section = dot == std::string::npos ? "" : name.substr(0, dot);
  const RecipeKey& key = known_key(section, dot == std::string::npos ? name : name.substr(dot + 1), where);
  set_key(recipe, key, *override_value(key, text.substr(equals + 1)).get("value"), {where, fs::current_path()});
}

/// What keys say about each other.
void require_consistent(const Recipe& r, const std::string& file) {
  const auto require = [&](bool ok, const auto&... message) {
    if (!ok) throw Error(cat(file, ": ", message...));
  };
  const bool rejects = r.stage == "reject", rewarded = rejects || r.stage == "grpo";
  const std::string& task = rejects ? r.reject.task : r.grpo.task;
  const std::string& program = rejects ? r.reject.reward_program : r.grpo.reward_program;
  require(r.model.config.empty() != r.model.start.empty(),
          "model: expected one of config (weights are drawn) and start (a model), found ",
          r.model.config.empty() ? "neither" : "both");
  require(r.model.config.empty() || !r.model.tokenizer.empty(),
          "model.tokenizer: expected characters, bytes or a path beside model.config, found nothing");
  const bool taught = r.stage == "sft" && !r.data.task.empty();
  require(rewarded || taught || !r.data.train.empty(), "data.train: expected at least one file for stage ", r.stage,
          ", found none");
  require(r.data.task.empty() || (taught && r.data.train.empty()),
          "data.task: expected stage sft and no data.train beside it, found stage ", r.stage, " and ",
          r.data.train.size(), " files");
  require(!rewarded || !task.empty() || (!program.empty() && !r.data.train.empty()), r.stage,
          ".task: expected a task, or ", r.stage, ".reward_program and data.train, for stage ", r.stage,
          ", found neither");
  require(!rejects || r.reject.prompts > 0 || task.empty(),
          "reject.prompts: expected at least 1 beside reject.task, whose problems do not end, found 0");
  require(!rejects || !r.model.start.empty(), "model.start: expected a model for stage reject, found none");
  require(!rejects || r.lora.rank == 0, "lora.rank: expected 0 for stage reject, which trains nothing, found ",
          r.lora.rank);
  require(!rejects || r.train.sample_every == 0,
          "train.sample_every: expected 0 for stage reject, whose answers are in answers.jsonl, found ",
          r.train.sample_every);
  require(r.data.validation.empty() || r.data.validation_fraction == 0,
          "data.validation_fraction: expected 0 beside data.validation, found ", r.data.validation_fraction);
  require(r.stage != "distill" || !r.distill.teacher.empty(),
          "distill.teacher: expected a model for stage distill, found nothing");
  require(r.optimizer.min_learning_rate <= r.optimizer.learning_rate,
          "optimizer.min_learning_rate: expected at most learning_rate (", r.optimizer.learning_rate, "), found ",
          r.optimizer.min_learning_rate);
  const bool decays = r.optimizer.schedule == "wsd";
  require(!decays || r.optimizer.decay_steps > 0, "optimizer.decay_steps: expected at least 1 with wsd, found 0");
  const double ramps =
      static_cast<double>(r.optimizer.warmup_steps) + (decays ? static_cast<double>(r.optimizer.decay_steps) : 0);
  require(ramps <= static_cast<double>(r.train.steps), "optimizer.warmup_steps: expected warm-up",
          decays ? " and decay" : "", " within train.steps (", r.train.steps, "), found ", ramps, " steps");
  require(r.train.micro_batch <= r.train.batch, "train.micro_batch: expected at most train.batch (", r.train.batch,
          "), found ", r.train.micro_batch);
  require(r.lora.rank == 0 || !r.lora.targets.empty(),
          "lora.targets: expected names of linears beside lora.rank, found none");
  require(r.lora.rank == 0 || r.stage != "grpo" || r.grpo.reference_every == 0,
          "grpo.reference_every: expected 0 beside lora.rank, where the frozen model is the reference, found ",
          r.grpo.reference_every);
  require(r.grpo.overlong != "soft" || (r.grpo.overlong_cache > 0 && r.grpo.overlong_cache <= r.grpo.max_tokens),
          "grpo.overlong_cache: expected 1 to grpo.max_tokens (", r.grpo.max_tokens, ") with overlong soft, found ",
          r.grpo.overlong_cache);
}

}  // namespace

Recipe read_recipe(const fs::path& path, std::span<const std::string> overrides) {
  Recipe recipe;
  read_file(recipe, path);
  for (const std::string& text : overrides) apply_override(recipe, text);
  if (recipe.name.empty()) recipe.name = path.stem().string();
  require_consistent(recipe, path.string());
  return recipe;
}

}  // namespace fathom
