// Every key of the table read back from its own text; what is refused, and in which words.
#include "train/recipe.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <limits>
#include <random>

#include "base/error.h"
#include "tests/testing.h"
#include "train/recipe_table.h"

namespace fathom {
namespace {

using testing::TempDir;

constexpr const char* kSmall = "[model]\nconfig = 'config.json'\ntokenizer = 'characters'\n[data]\ntrain = ['a.txt']\n";

class Recipes : public ::testing::Test {
 protected:
  std::filesystem::path write(const std::string& text) const {
    std::ofstream(path()) << text;
    return path();
  }
  std::filesystem::path path() const { return dir_.path() / "small.toml"; }
  Recipe read(const std::string& text, const std::vector<std::string>& overrides = {}) const {
    return read_recipe(write(text), overrides);
  }
  /// The message, after the file's path.
  std::string refusal(const std::string& text, const std::vector<std::string>& overrides = {}) const {
    try {
      read(text, overrides);
    } catch (const Error& e) {
      const std::string message = e.what(), file = path().string();
      return message.starts_with(file) ? message.substr(file.size()) : message;
    }
    return "accepted";
  }
  TempDir dir_;
};

TEST_F(Recipes, ReadsKeysAndResolvesPaths) {
  const Recipe r = read(
      "stage = 'sft'\nseed = 7\n[model]\nstart = 'OWNER/NAME'\ntokenizer = 'bytes'\n[data]\n"
      "train = ['a.jsonl', '/data/b.jsonl', '../c.jsonl']\npacking = false\n"
      "[optimizer]\nlearning_rate = 1\nbetas = [0, 0.99]\n[lora]\nrank = 8\ntargets = ['q_proj']\n");
  EXPECT_EQ(r.stage, "sft");
  EXPECT_EQ(r.name, "small");
  EXPECT_EQ(r.seed, 7);
  EXPECT_EQ(r.model.start, "OWNER/NAME");
  EXPECT_EQ(r.model.tokenizer, "bytes");
  EXPECT_EQ(r.data.train, (std::vector<std::string>{(dir_.path() / "a.jsonl").string(), "/data/b.jsonl",
                                                    (dir_.path().parent_path() / "c.jsonl").string()}));
  EXPECT_FALSE(r.data.packing);
  EXPECT_EQ(r.optimizer.learning_rate, 1.0);
  EXPECT_EQ(r.optimizer.betas, (std::array<double, 2>{0, 0.99}));
  EXPECT_EQ(r.lora.targets, std::vector<std::string>{"q_proj"});
  EXPECT_EQ(r.train.keep, 2);
  std::filesystem::create_directory(dir_.path() / "base");
  EXPECT_EQ(read("[model]\nstart = 'base'\n[data]\ntrain = ['a']\n").model.start, (dir_.path() / "base").string());
}

TEST_F(Recipes, OverridesWinInOrder) {
  const Recipe r = read(kSmall, {"optimizer.learning_rate=3e-4", "optimizer.learning_rate=1e-3", "name=2024",
                                 "stage=sft", "train.recompute=true", "data.train=b.txt",
                                 "data.validation=['c.txt', 'd.txt']", "optimizer.betas=[0.5, 0.75]"});
  EXPECT_EQ(r.optimizer.learning_rate, 1e-3);
  EXPECT_EQ(r.name, "2024");
  EXPECT_EQ(r.stage, "sft");
  EXPECT_TRUE(r.train.recompute);
  EXPECT_EQ(r.data.train, std::vector<std::string>{(std::filesystem::current_path() / "b.txt").string()});
  EXPECT_EQ(r.data.validation.size(), 2u);
  EXPECT_EQ(r.optimizer.betas[0], 0.5);
}

TEST_F(Recipes, NamesWhatIsWrong) {
  EXPECT_EQ(refusal(std::string(kSmall) + "[optimizer]\nlearning_rat = 1\n"),
            ":7: optimizer.learning_rat: expected a key of a recipe, found an unknown one (the nearest known is "
            "optimizer.learning_rate)");
  EXPECT_EQ(refusal("[train]\nlearning_rate = 1\n"),
            ":2: train.learning_rate: expected a key of a recipe, found an unknown one (the nearest known is "
            "optimizer.learning_rate)");
  EXPECT_EQ(refusal("[train]\nbetas = 1\n"),
            ":2: train.betas: expected a key of a recipe, found an unknown one (the nearest known is optimizer.betas)");
  EXPECT_EQ(refusal("[optimiser]\neps = 1\n"),
            ":2: optimiser.eps: expected a key of a recipe, found an unknown one (the nearest known is optimizer.eps)");
  EXPECT_EQ(refusal("train = 3\n"), ":1: train: expected a section [train], found 3");
  EXPECT_EQ(refusal("stage = 'rl'\n"),
            ":1: stage: expected one of pretrain, sft, grpo, dpo, distill, reject, found 'rl'");
  EXPECT_EQ(refusal("stage = ''\n").substr(0, 24), ":1: stage: expected one ");
  EXPECT_EQ(refusal("[train]\n\nsteps = 0\n"), ":3: train.steps: expected a whole number from 1, found 0");
  EXPECT_EQ(refusal("[train]\nsteps = 1.5\n"), ":2: train.steps: expected a whole number from 1, found 1.5");
  EXPECT_EQ(refusal("[optimizer]\nbetas = [0.9, 1]\n"),
            ":2: optimizer.betas: expected a list of two numbers from 0 to below 1, found a list of 2");
  EXPECT_EQ(refusal("[optimizer]\neps = nan\n"), ":2: optimizer.eps: expected a number from 0 to 1, found NaN");
  EXPECT_EQ(refusal("[lora]\ndropout = 0.1\n"), ":2: lora.dropout: expected 0, found 0.1");
  EXPECT_EQ(refusal("[grpo]\ntemperature = 0\n"), ":2: grpo.temperature: expected a number above 0 to 100, found 0");
  EXPECT_EQ(refusal("[data]\ntrain = 'a.txt'\n"), ":2: data.train: expected a list of paths, found 'a.txt'");
  EXPECT_EQ(refusal("[data]\npacking = 1\n"), ":2: data.packing: expected true or false, found 1");
  EXPECT_EQ(refusal("seed = 1\nseed = 2\n").substr(0, 28), ":2: expected TOML, found: Er");
  EXPECT_EQ(refusal("seed = 2024-01-01 0\n").substr(0, 16), ": expected TOML,");
  EXPECT_EQ(refusal(kSmall, {"train.steps=many"}),
            "--set train.steps=many: expected a whole number from 1, found 'many'");
  EXPECT_EQ(refusal(kSmall, {"train.step=1"}),
            "--set train.step=1: expected a key of a recipe, found an unknown one (the nearest known is train.steps)");
  EXPECT_EQ(refusal(kSmall, {"name=\xff"}), "--set name=\xff: expected UTF-8, found other bytes");
  EXPECT_EQ(refusal(kSmall, {"seed"}), "--set seed: expected key=value, found no '='");
  EXPECT_EQ(refusal(kSmall, {"seed=1\nstage='sft'"}).substr(0, 12), "--set seed=1");
  EXPECT_THROW(read_recipe(dir_.path() / "absent.toml"), Error);
}

TEST_F(Recipes, NamesContradictions) {
  const auto starts = [&](const std::vector<std::string>& overrides, const std::string& begin) {
    const std::string message = refusal(kSmall, overrides);
    EXPECT_EQ(message.substr(0, begin.size()), begin);
  };
  EXPECT_EQ(refusal(kSmall), "accepted");
  starts({"model.start=x"}, ": model: expected one of config (weights are drawn) and start (a model), found both");
  starts({"model.config="}, ": model: expected one of config (weights are drawn) and start (a model), found neither");
  starts({"model.tokenizer="}, ": model.tokenizer: ");
  starts({"data.train=[]"}, ": data.train: expected at least one file for stage pretrain");
  starts({"stage=grpo"}, ": grpo.task: ");
  starts({"stage=reject"}, ": reject.task: ");
  starts({"stage=reject", "reject.task=copy"}, ": reject.prompts: ");
  starts({"stage=reject", "reject.task=copy", "reject.prompts=1"}, ": model.start: ");
  starts({"stage=distill"}, ": distill.teacher: ");
  starts({"data.validation=v", "data.validation_fraction=0.1"}, ": data.validation_fraction: ");
  starts({"optimizer.min_learning_rate=1"}, ": optimizer.min_learning_rate: expected at most learning_rate (0.0003)");
  starts({"optimizer.schedule=wsd"}, ": optimizer.decay_steps: ");
  starts({"optimizer.warmup_steps=1001"}, ": optimizer.warmup_steps: expected warm-up within train.steps (1000)");
  starts({"train.micro_batch=9"}, ": train.micro_batch: expected at most train.batch (8), found 9");
  starts({"lora.rank=1", "lora.targets=[]"}, ": lora.targets: ");
  starts({"stage=grpo", "grpo.task=copy", "lora.rank=1", "grpo.reference_every=5"}, ": grpo.reference_every: ");
  starts({"grpo.overlong=soft"}, ": grpo.overlong_cache: ");
}

/// A value of the key's range, for each type.
struct Draw {
  const RecipeKey& key;
  std::mt19937& random;
  double number() const {
    const double most = std::min(key.most, 1e6), x = std::uniform_real_distribution<>(0, 1)(random);
    return random() % 8 == 0 ? key.least : random() % 8 == 0 ? key.most : key.least + (most - key.least) * x;
  }
  std::string text() const {
    static constexpr const char* kPieces[] = {"a", "\"", "\\", "\n", "\t", "\x7f", "\x01", "é", "#", "=", "'", " "};
    std::string out = key.text == RecipeText::kPlain ? "" : "/d/";
    for (size_t i = 0; i < 6; ++i) out += kPieces[random() % std::size(kPieces)];
    return out;
  }
  void operator()(std::string* out) const {
    if (key.text != RecipeText::kChoice) return void(*out = text());
    const std::string_view words = key.words;
    *out = random() % 2 ? words.substr(0, words.find('|')) : words.substr(words.rfind('|') + 1);
  }
  void operator()(int64_t* out) const { *out = static_cast<int64_t>(std::floor(number())); }
  void operator()(double* out) const { *out = number(); }
  void operator()(bool* out) const { *out = random() % 2; }
  void operator()(std::array<double, 2>* out) const { *out = {number(), number()}; }
  void operator()(std::vector<std::string>* out) const { *out = {text(), text()}; }
};

TEST_F(Recipes, ReadsBackWhatItWrites) {
  std::mt19937 random(1);
  for (int round = 0; round < 60; ++round) {
    Recipe r;
    for (const RecipeKey& key : recipe_keys()) std::visit(Draw{key, random}, key.slot(r));
    // Keys that contradict each other are made to agree.
    (round % 2 ? r.model.config : r.model.start).clear();
    r.data.validation_fraction = 0;
    if (round % 3 == 0)
      r.stage = "sft", r.data.train.clear();
    else
      r.data.task.clear();
    r.optimizer.min_learning_rate = std::min(r.optimizer.min_learning_rate, r.optimizer.learning_rate);
    r.train.steps = int64_t{1} << 39;
    r.optimizer.warmup_steps = r.optimizer.warmup_steps % 1000;
    r.optimizer.decay_steps = 1 + r.optimizer.decay_steps % 1000;
    r.train.micro_batch = std::min(r.train.micro_batch, r.train.batch);
    r.grpo.overlong_cache = r.grpo.max_tokens;
    if (r.stage == "reject") {
      r.model.config.clear(), r.model.start = "/d/start";
      r.reject.prompts = std::max<int64_t>(r.reject.prompts, 1);
      r.lora.rank = r.train.sample_every = 0;
    }
    const Recipe back = read(to_toml(r));
    EXPECT_EQ(to_toml(back), to_toml(r));
    ASSERT_TRUE(back == r) << "round " << round;
  }
}

TEST_F(Recipes, TableIsSane) {
  for (const RecipeKey& key : recipe_keys()) {
    EXPECT_EQ(find_recipe_key(key.section, key.key), &key) << key.name() << " stands twice";
    EXPECT_NE(recipe_help().find(cat("\n", key.key, " = ")), *key.section ? std::string::npos : 0) << key.name();
  }
  // Sections are whole: each begins once.
  std::vector<std::string> begun;
  for (const RecipeKey& key : recipe_keys())
    if (begun.empty() || begun.back() != key.section) begun.emplace_back(key.section);
  std::sort(begun.begin(), begun.end());
  EXPECT_EQ(std::adjacent_find(begun.begin(), begun.end()), begun.end());
  EXPECT_EQ(read("[model]\nstart = 'm'\n[data]\ntrain = ['a']\n").optimizer, Recipe().optimizer);
}

}  // namespace
}  // namespace fathom
