// A recipe: everything that decides what a training run computes, as a TOML file in the field's words
// (docs/training-runs.md). recipe_table.h lists every key with its range and meaning; this file is what the trainer
// reads. Values: thread-safe.
#pragma once
#include <array>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

namespace fathom {

/// The defaults are those of a recipe that says nothing; `recipe_help` explains each key. Choices are the words of
/// the file ("adamw"), checked when it was read.
struct Recipe {
  std::string stage = "pretrain", name;
  int64_t seed = 1;

  struct Model {
    std::string config, start;  ///< exactly one: weights drawn for a config.json, or a model to start from
    std::string tokenizer;      ///< "": that of `start`; "characters", "bytes", or a path
    double init_std = 0.02;
    bool operator==(const Model&) const = default;
  } model;

  struct Data {
    std::vector<std::string> train, validation;
    std::string task;
    int64_t examples = 4096;
    double validation_fraction = 0;
    int64_t context = 0;  ///< tokens per sequence; 0: the model's own
    bool packing = true;
    std::string loss = "assistant";
    bool operator==(const Data&) const = default;
  } data;

  struct Optimizer {
    std::string name = "adamw";
    double learning_rate = 3e-4, min_learning_rate = 0;
    std::string schedule = "constant";
    int64_t warmup_steps = 0, decay_steps = 0;
    std::array<double, 2> betas{0.9, 0.95};
    double eps = 1e-8, weight_decay = 0.1, clip_norm = 1, momentum = 0.95, ema_decay = 0;
    bool operator==(const Optimizer&) const = default;
  } optimizer;

  struct Train {
    int64_t steps = 1000, batch = 8, micro_batch = 0;
    int64_t eval_every = 0, eval_batches = 0, save_every = 0, keep = 2, sample_every = 0, sample_tokens = 128;
    std::string on_nan = "stop";
    double spike_factor = 0;
    bool recompute = false;
    std::string profile = "auto";
    int64_t threads = 0;
    bool operator==(const Train&) const = default;
  } train;

  struct Moe {
    double bias_update_rate = 0.001, balance_alpha = 0.0001;
    bool operator==(const Moe&) const = default;
  } moe;

  struct Mtp {
    double weight = 0.3;
    bool operator==(const Mtp&) const = default;
  } mtp;

  struct Lora {
    int64_t rank = 0;
    double alpha = 16;
    std::vector<std::string> targets{"q_proj", "v_proj"};
    double dropout = 0;
    bool operator==(const Lora&) const = default;
  } lora;

  struct Grpo {
    int64_t group = 16, prompts = 8;
    std::string loss = "grpo";
    double epsilon_low = 0.2, epsilon_high = 0.2, beta = 0;
    std::string kl = "k3";
    double temperature = 1;
    int64_t max_tokens = 256, updates = 1;
    bool scale_rewards = true, dynamic_sampling = false;
    std::string overlong = "none";
    int64_t overlong_cache = 0;
    double mask_delta = 0;
    bool keep_routing = false;
    int64_t reference_every = 0;
    std::string task, reward_program;
    bool operator==(const Grpo&) const = default;
  } grpo;

  struct Reject {
    std::string task, reward_program;
    int64_t prompts = 0, samples = 8;
    double temperature = 1;
    int64_t max_tokens = 256;
    double min_reward = 1;
    int64_t keep = 0;
    bool drop_all_right = false, readable = true;
    bool operator==(const Reject&) const = default;
  } reject;

  struct Dpo {
    double beta = 0.1;
    bool operator==(const Dpo&) const = default;
  } dpo;

  struct Distill {
    std::string teacher, loss = "forward_kl";
    int64_t top_k = 0;
    double temperature = 1;
    double on_policy = 0;
    int64_t max_tokens = 256;
    bool operator==(const Distill&) const = default;
  } distill;

  struct Energy {
    double watts = 0, price_per_kwh = 0;
    std::string currency = "USD";
    bool operator==(const Energy&) const = default;
  } energy;

  bool operator==(const Recipe&) const = default;
};

/// Reads a recipe, then applies `overrides` in order: "optimizer.learning_rate=3e-4", the value as TOML, or a bare word
/// as a string; a list takes one string too. Paths that are relative in the file start at the file's folder, those of
/// an override at the current folder; both become absolute. `model.start` and `distill.teacher` stay as they are where
/// no such file exists: they are names of models then. An absent `name` is the file's name without its end.
/// Throws Error naming file, line and key (or the override), what was expected and what was found; for an unknown key
/// also the nearest known one; and where keys contradict each other.
Recipe read_recipe(const std::filesystem::path& path, std::span<const std::string> overrides = {});

/// The recipe as run: TOML with every value spelled out. read_recipe of it gives an equal Recipe.
std::string to_toml(const Recipe& recipe);

/// Every key with its default, range and meaning: the text of `fathom train --help-recipe`.
std::string recipe_help();

}  // namespace fathom
