#include "train/recipe_table.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "base/error.h"
#include "base/json.h"

namespace fathom {
namespace {

constexpr auto kChoice = RecipeText::kChoice;
constexpr auto kPath = RecipeText::kPath;
constexpr auto kModel = RecipeText::kModel;
constexpr double kUnused = 0;  // the range of what is no number

// clang-format off
constexpr RecipeKey kKeys[] = {
    {"", "stage", [](Recipe& r) -> RecipeSlot { return &r.stage; }, "what is trained, and how",
     kUnused, kUnused, kChoice, "pretrain|sft|grpo|dpo|distill|reject"},
    {"", "name", [](Recipe& r) -> RecipeSlot { return &r.name; }, "of the run; \"\": the recipe file's name"},
    {"", "seed", [](Recipe& r) -> RecipeSlot { return &r.seed; }, "of weights, data order and sampling",
     0, 9223372036854774784.0},

    {"model", "config", [](Recipe& r) -> RecipeSlot { return &r.model.config; },
     "a config.json; the weights are drawn", kUnused, kUnused, kPath},
    {"model", "start", [](Recipe& r) -> RecipeSlot { return &r.model.start; },
     "a model to start from: folder, file or name", kUnused, kUnused, kModel},
    {"model", "tokenizer", [](Recipe& r) -> RecipeSlot { return &r.model.tokenizer; },
     "\"\": that of start; or characters, bytes, a path", kUnused, kUnused, kPath, "characters|bytes"},
    {"model", "init_std", [](Recipe& r) -> RecipeSlot { return &r.model.init_std; },
     "standard deviation of drawn weights", 0, 10},

    {"data", "train", [](Recipe& r) -> RecipeSlot { return &r.data.train; }, "files to train on",
     kUnused, kUnused, kPath},
    {"data", "task", [](Recipe& r) -> RecipeSlot { return &r.data.task; },
     "stage sft: learn a task's own answers instead of files"},
    {"data", "examples", [](Recipe& r) -> RecipeSlot { return &r.data.examples; },
     "of the task, before they come again", 1, 1e7},
    {"data", "validation", [](Recipe& r) -> RecipeSlot { return &r.data.validation; }, "files to validate on",
     kUnused, kUnused, kPath},
    {"data", "validation_fraction", [](Recipe& r) -> RecipeSlot { return &r.data.validation_fraction; },
     "the last part of the training data, held out", 0, kBelowOne},
    {"data", "context", [](Recipe& r) -> RecipeSlot { return &r.data.context; },
     "tokens per sequence; 0: the model's own", 0, 1e9},
    {"data", "packing", [](Recipe& r) -> RecipeSlot { return &r.data.packing; },
     "several samples per sequence, none seeing another"},
    {"data", "loss", [](Recipe& r) -> RecipeSlot { return &r.data.loss; }, "the tokens of a chat that count",
     kUnused, kUnused, kChoice, "assistant|all"},

    {"optimizer", "name", [](Recipe& r) -> RecipeSlot { return &r.optimizer.name; },
     "muon: hidden matrices by Muon, the rest by AdamW", kUnused, kUnused, kChoice, "adamw|muon"},
    {"optimizer", "learning_rate", [](Recipe& r) -> RecipeSlot { return &r.optimizer.learning_rate; },
     "the peak of the schedule", 0, 100},
    {"optimizer", "min_learning_rate", [](Recipe& r) -> RecipeSlot { return &r.optimizer.min_learning_rate; },
     "where cosine and wsd end", 0, 100},
    {"optimizer", "schedule", [](Recipe& r) -> RecipeSlot { return &r.optimizer.schedule; },
     "after the warm-up; wsd: stable, then decay", kUnused, kUnused, kChoice, "constant|cosine|wsd"},
    {"optimizer", "warmup_steps", [](Recipe& r) -> RecipeSlot { return &r.optimizer.warmup_steps; },
     "linear from 0"},
    {"optimizer", "decay_steps", [](Recipe& r) -> RecipeSlot { return &r.optimizer.decay_steps; },
     "the last steps of wsd"},
    {"optimizer", "betas", [](Recipe& r) -> RecipeSlot { return &r.optimizer.betas; }, "AdamW's decay of its moments",
     0, kBelowOne},
    {"optimizer", "eps", [](Recipe& r) -> RecipeSlot { return &r.optimizer.eps; }, "in AdamW's denominator", 0, 1},
    {"optimizer", "weight_decay", [](Recipe& r) -> RecipeSlot { return &r.optimizer.weight_decay; },
     "decoupled; matrices only", 0, 10},
    {"optimizer", "clip_norm", [](Recipe& r) -> RecipeSlot { return &r.optimizer.clip_norm; },
     "largest norm of all gradients together; 0: none"},
    {"optimizer", "momentum", [](Recipe& r) -> RecipeSlot { return &r.optimizer.momentum; }, "Muon's", 0, kBelowOne},
    {"optimizer", "ema_decay", [](Recipe& r) -> RecipeSlot { return &r.optimizer.ema_decay; },
     "of an exponential average of the weights; 0: none", 0, kBelowOne},

    {"train", "steps", [](Recipe& r) -> RecipeSlot { return &r.train.steps; }, "updates of the weights", 1, 1e12},
    {"train", "batch", [](Recipe& r) -> RecipeSlot { return &r.train.batch; }, "sequences per step; reject: prompts at once", 1, 1e9},
    {"train", "micro_batch", [](Recipe& r) -> RecipeSlot { return &r.train.micro_batch; },
     "sequences computed at once; 0: the batch", 0, 1e9},
    {"train", "eval_every", [](Recipe& r) -> RecipeSlot { return &r.train.eval_every; },
     "steps between validations; 0: only at the end"},
    {"train", "eval_batches", [](Recipe& r) -> RecipeSlot { return &r.train.eval_batches; },
     "batches per validation; 0: all of the held-out data"},
    {"train", "save_every", [](Recipe& r) -> RecipeSlot { return &r.train.save_every; },
     "steps between checkpoints; 0: only at the end"},
    {"train", "keep", [](Recipe& r) -> RecipeSlot { return &r.train.keep; },
     "newest checkpoints kept, beside the best one", 1},
    {"train", "sample_every", [](Recipe& r) -> RecipeSlot { return &r.train.sample_every; },
     "steps between samples of text; 0: none"},
    {"train", "sample_tokens", [](Recipe& r) -> RecipeSlot { return &r.train.sample_tokens; }, "length of a sample",
     1, 1e9},
    {"train", "on_nan", [](Recipe& r) -> RecipeSlot { return &r.train.on_nan; },
     "on a loss or gradient that is no number, or a spike", kUnused, kUnused, kChoice, "stop|skip"},
    {"train", "spike_factor", [](Recipe& r) -> RecipeSlot { return &r.train.spike_factor; },
     "a spike: gradient norm above this times its running mean; 0: off"},
    {"train", "recompute", [](Recipe& r) -> RecipeSlot { return &r.train.recompute; },
     "compute activations twice to keep fewer (same bits)"},
    {"train", "profile", [](Recipe& r) -> RecipeSlot { return &r.train.profile; }, "how linears are computed; auto: by the frozen model's file, else exact",
     kUnused, kUnused, kChoice, "auto|exact|int8|bf16"},
    {"train", "threads", [](Recipe& r) -> RecipeSlot { return &r.train.threads; }, "0: all physical cores", 0, 4096},

    {"moe", "bias_update_rate", [](Recipe& r) -> RecipeSlot { return &r.moe.bias_update_rate; },
     "step of the router's bias towards balance; 0: none", 0, 1},
    {"moe", "balance_alpha", [](Recipe& r) -> RecipeSlot { return &r.moe.balance_alpha; },
     "weight of the sequence-wise balance loss; 0: none", 0, 1},

    {"mtp", "weight", [](Recipe& r) -> RecipeSlot { return &r.mtp.weight; },
     "of the loss of multi-token prediction; 0: none", 0, 100},

    {"lora", "rank", [](Recipe& r) -> RecipeSlot { return &r.lora.rank; }, "of the adapters; 0: all weights are trained",
     0, 65536},
    {"lora", "alpha", [](Recipe& r) -> RecipeSlot { return &r.lora.alpha; }, "an adapter counts alpha / rank", kAboveZero},
    {"lora", "targets", [](Recipe& r) -> RecipeSlot { return &r.lora.targets; }, "names of the linears that get one"},
    {"lora", "dropout", [](Recipe& r) -> RecipeSlot { return &r.lora.dropout; }, "there is none", 0, 0},

    {"grpo", "group", [](Recipe& r) -> RecipeSlot { return &r.grpo.group; }, "answers per prompt", 2, 1e6},
    {"grpo", "prompts", [](Recipe& r) -> RecipeSlot { return &r.grpo.prompts; }, "per step", 1, 1e6},
    {"grpo", "loss", [](Recipe& r) -> RecipeSlot { return &r.grpo.loss; }, "how tokens are averaged",
     kUnused, kUnused, kChoice, "grpo|dapo|dr_grpo|bnpo"},
    {"grpo", "epsilon_low", [](Recipe& r) -> RecipeSlot { return &r.grpo.epsilon_low; }, "ratios are clipped below 1 - this"},
    {"grpo", "epsilon_high", [](Recipe& r) -> RecipeSlot { return &r.grpo.epsilon_high; },
     "and above 1 + this"},
    {"grpo", "beta", [](Recipe& r) -> RecipeSlot { return &r.grpo.beta; }, "weight of the KL to the reference; 0: none"},
    {"grpo", "kl", [](Recipe& r) -> RecipeSlot { return &r.grpo.kl; }, "its estimator", kUnused, kUnused, kChoice,
     "k3|unbiased"},
    {"grpo", "temperature", [](Recipe& r) -> RecipeSlot { return &r.grpo.temperature; }, "of the answers",
     kAboveZero, 100},
    {"grpo", "max_tokens", [](Recipe& r) -> RecipeSlot { return &r.grpo.max_tokens; }, "of an answer", 1, 1e9},
    {"grpo", "updates", [](Recipe& r) -> RecipeSlot { return &r.grpo.updates; }, "per set of answers", 1, 1e6},
    {"grpo", "scale_rewards", [](Recipe& r) -> RecipeSlot { return &r.grpo.scale_rewards; },
     "divide advantages by the group's standard deviation"},
    {"grpo", "dynamic_sampling", [](Recipe& r) -> RecipeSlot { return &r.grpo.dynamic_sampling; },
     "replace groups whose rewards are all equal"},
    {"grpo", "overlong", [](Recipe& r) -> RecipeSlot { return &r.grpo.overlong; }, "what happens to truncated answers",
     kUnused, kUnused, kChoice, "none|mask|soft"},
    {"grpo", "overlong_cache", [](Recipe& r) -> RecipeSlot { return &r.grpo.overlong_cache; },
     "tokens before max_tokens over which the soft penalty grows"},
    {"grpo", "mask_delta", [](Recipe& r) -> RecipeSlot { return &r.grpo.mask_delta; },
     "mask bad answers this far off policy; 0: off"},
    {"grpo", "keep_routing", [](Recipe& r) -> RecipeSlot { return &r.grpo.keep_routing; },
     "train through the experts that the answer used"},
    {"grpo", "reference_every", [](Recipe& r) -> RecipeSlot { return &r.grpo.reference_every; },
     "steps after which the reference is replaced; 0: never"},
    {"grpo", "task", [](Recipe& r) -> RecipeSlot { return &r.grpo.task; }, "prompts and verifier, by name"},
    {"grpo", "reward_program", [](Recipe& r) -> RecipeSlot { return &r.grpo.reward_program; },
     "a program of yours that grades, run in a sandbox", kUnused, kUnused, kPath},

    {"reject", "task", [](Recipe& r) -> RecipeSlot { return &r.reject.task; }, "prompts and verifier, by name"},
    {"reject", "reward_program", [](Recipe& r) -> RecipeSlot { return &r.reject.reward_program; },
     "a program of yours that grades, run in a sandbox", kUnused, kUnused, kPath},
    {"reject", "prompts", [](Recipe& r) -> RecipeSlot { return &r.reject.prompts; },
     "that are answered; 0: all of data.train", 0, 4294967295},
    {"reject", "samples", [](Recipe& r) -> RecipeSlot { return &r.reject.samples; }, "answers drawn to each", 1, 1e6},
    {"reject", "temperature", [](Recipe& r) -> RecipeSlot { return &r.reject.temperature; }, "of the answers",
     kAboveZero, 100},
    {"reject", "max_tokens", [](Recipe& r) -> RecipeSlot { return &r.reject.max_tokens; },
     "of an answer; a longer one is not kept", 1, 1e9},
    {"reject", "min_reward", [](Recipe& r) -> RecipeSlot { return &r.reject.min_reward; },
     "that makes an answer right", -1e6, 1e6},
    {"reject", "keep", [](Recipe& r) -> RecipeSlot { return &r.reject.keep; },
     "right answers to a prompt, the first ones; 0: all"},
    {"reject", "drop_all_right", [](Recipe& r) -> RecipeSlot { return &r.reject.drop_all_right; },
     "keep none to a prompt whose answers are all right"},
    {"reject", "readable", [](Recipe& r) -> RecipeSlot { return &r.reject.readable; },
     "keep no thinking that mixes languages, or has code or long paragraphs"},

    {"dpo", "beta", [](Recipe& r) -> RecipeSlot { return &r.dpo.beta; }, "strength of the tie to the reference",
     kAboveZero, 1e6},

    {"distill", "teacher", [](Recipe& r) -> RecipeSlot { return &r.distill.teacher; }, "a model: folder, file or name",
     kUnused, kUnused, kModel},
    {"distill", "loss", [](Recipe& r) -> RecipeSlot { return &r.distill.loss; },
     "forward_kl: KL(teacher, student)", kUnused, kUnused, kChoice, "forward_kl|reverse_kl"},
    {"distill", "top_k", [](Recipe& r) -> RecipeSlot { return &r.distill.top_k; },
     "of the teacher's tokens, all others as one; 0: every token", 0, 1e6},
    {"distill", "temperature", [](Recipe& r) -> RecipeSlot { return &r.distill.temperature; },
     "of both distributions; the loss counts its square", kAboveZero, 100},
    {"distill", "on_policy", [](Recipe& r) -> RecipeSlot { return &r.distill.on_policy; },
     "share of a step's samples that the student answers itself", 0, 1},
    {"distill", "max_tokens", [](Recipe& r) -> RecipeSlot { return &r.distill.max_tokens; },
     "of such an answer, and what the context leaves", 1, 1e9},

    {"energy", "watts", [](Recipe& r) -> RecipeSlot { return &r.energy.watts; },
     "drawn by the machine, as stated; 0: measured where possible"},
    {"energy", "price_per_kwh", [](Recipe& r) -> RecipeSlot { return &r.energy.price_per_kwh; }, "0: no cost is shown"},
    {"energy", "currency", [](Recipe& r) -> RecipeSlot { return &r.energy.currency; }, "of the price"},
};
// clang-format on

size_t edits(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = std::exchange(row[0], i);
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t change = diagonal + (a[i - 1] != b[j - 1]);
      diagonal = row[j];
      row[j] = std::min({change, row[j] + 1, row[j - 1] + 1});
    }
  }
  return row[b.size()];
}

std::string number_text(double x) { return to_json(json::value(x)); }

std::string range_text(const RecipeKey& key) {
  std::string text = key.least == kAboveZero ? "above 0" : cat("from ", number_text(key.least));
  if (key.most == kBelowOne) return text + " to below 1";
  return key.most <= 4096 ? cat(text, " to ", number_text(key.most)) : text;
}

std::string words_text(std::string_view words) {
  std::string text;
  for (const char c : words) text += c == '|' ? std::string(", ") : std::string(1, c);
  return text;
}

std::string quoted(const std::string& text) {
  std::string out;
  for (const char c : to_json(json::value(text)))  // JSON's escapes are TOML's
    c == '\x7f' ? out += "\\u007F" : out += c;
  return out;
}

struct ValueText {
  std::string operator()(const std::string* x) const { return quoted(*x); }
  std::string operator()(const int64_t* x) const { return std::to_string(*x); }
  std::string operator()(const double* x) const { return number_text(*x); }
  std::string operator()(const bool* x) const { return *x ? "true" : "false"; }
  std::string operator()(const std::array<double, 2>* x) const {
    return cat("[", number_text((*x)[0]), ", ", number_text((*x)[1]), "]");
  }
  std::string operator()(const std::vector<std::string>* x) const {
    std::string text = "[";
    for (size_t i = 0; i < x->size(); ++i) text += (i ? ", " : "") + quoted((*x)[i]);
    return text + "]";
  }
};

/// What a key takes, by its type.
struct Expected {
  const RecipeKey& key;
  std::string operator()(const std::string*) const {
    if (key.text == RecipeText::kChoice) return "one of " + words_text(key.words);
    if (key.text == RecipeText::kModel) return "a path or the name of a model";
    if (key.text == RecipeText::kPath) return *key.words ? cat(words_text(key.words), " or a path") : "a path";
    return "a string";
  }
  std::string operator()(const int64_t*) const { return "a whole number " + range_text(key); }
  std::string operator()(const double*) const {
    return key.least == key.most ? number_text(key.least) : "a number " + range_text(key);
  }
  std::string operator()(const bool*) const { return "true or false"; }
  std::string operator()(const std::array<double, 2>*) const { return "a list of two numbers " + range_text(key); }
  std::string operator()(const std::vector<std::string>*) const {
    return key.text == RecipeText::kPath ? "a list of paths" : "a list of strings";
  }
};

/// Calls header(section) where a section begins, and line(key, value as TOML) for each key.
template <class Header, class Line>
void walk(const Recipe& recipe, Header header, Line line) {
  Recipe copy = recipe;  // slots are not const
  std::string_view section;
  for (const RecipeKey& key : kKeys) {
    if (key.section != section) header(section = key.section);
    line(key, recipe_value_text(key.slot(copy)));
  }
}

}  // namespace

std::string RecipeKey::name() const { return *section ? cat(section, ".", key) : key; }

std::span<const RecipeKey> recipe_keys() { return kKeys; }

const RecipeKey* find_recipe_key(std::string_view section, std::string_view key) {
  for (const RecipeKey& known : kKeys)
    if (known.section == section && known.key == key) return &known;
  return nullptr;
}

bool is_recipe_section(std::string_view section) {
  return std::any_of(std::begin(kKeys), std::end(kKeys), [&](const RecipeKey& key) { return key.section == section; });
}

std::string nearest_recipe_key(std::string_view section, std::string_view key) {
  for (const RecipeKey& known : kKeys)
    if (known.key == key) return known.name();
  const std::string asked = section.empty() ? std::string(key) : cat(section, ".", key);
  const auto distance = [&](const RecipeKey& known) { return edits(asked, known.name()); };
  return std::min_element(std::begin(kKeys), std::end(kKeys),
                          [&](const RecipeKey& a, const RecipeKey& b) { return distance(a) < distance(b); })
      ->name();
}

std::string expectation(const RecipeKey& key) {
  Recipe any;
  return std::visit(Expected{key}, key.slot(any));
}

bool is_word_of(std::string_view words, std::string_view text) {
  while (true) {
    const size_t end = words.find('|');
    if (words.substr(0, end) == text && !text.empty()) return true;
    if (end == std::string_view::npos) return false;
    words.remove_prefix(end + 1);
  }
}

std::string recipe_value_text(const RecipeSlot& slot) { return std::visit(ValueText{}, slot); }

std::string to_toml(const Recipe& recipe) {
  std::string out;
  walk(
      recipe, [&](std::string_view section) { out += cat("\n[", section, "]\n"); },
      [&](const RecipeKey& key, const std::string& value) { out += cat(key.key, " = ", value, "\n"); });
  return out;
}

std::string recipe_help() {
  std::string out;
  walk(
      Recipe(), [&](std::string_view section) { out += cat("\n[", section, "]\n"); },
      [&](const RecipeKey& key, const std::string& value) {
        std::string line = cat(key.key, " = ", value);
        line.resize(std::max(line.size() + 1, size_t{32}), ' ');
        out += cat(line, "# ", key.doc, " (", expectation(key), ")\n");
      });
  return out;
}

}  // namespace fathom
