#include "train/grpo_batch.h"

#include <cmath>
#include <iterator>

namespace fathom {
namespace {

/// Sums that become means at the end.
struct Totals {
  double reward = 0, penalty = 0, length = 0, length_above = 0, length_below = 0;
  size_t above = 0, below = 0;
};

double mean(double sum, size_t n) { return n == 0 ? 0 : sum / static_cast<double>(n); }

/// The rewards of one group's answers, the penalty included.
std::vector<double> grade(Problems& problems, uint64_t index, std::span<const Rollout> group,
                          const GrpoOptions& options, Totals& totals) {
  std::vector<double> rewards;
  for (const Rollout& answer : group) {
    const double reward = problems.reward(index, answer);
    if (!std::isfinite(reward))
      throw Error(cat("reward of problem ", index, ", sample ", answer.sample, ": expected a number, found ", reward));
    double penalty = 0;
    if (options.overlong == Overlong::kSoft)
      penalty = overlong_penalty(answer.completion().size(), options.max_tokens - options.overlong_cache,
                                 options.overlong_cache);
    totals.reward += reward, totals.penalty += penalty;
    rewards.push_back(reward + penalty);
  }
  return rewards;
}

void count(std::span<const Rollout> group, std::span<const float> advantages, GrpoDrawn& drawn, Totals& totals) {
  ++drawn.groups;
  for (size_t i = 0; i < group.size(); ++i) {
    const size_t length = group[i].completion().size();
    ++drawn.answers;
    drawn.truncated += group[i].truncated;
    drawn.prompt_tokens += group[i].prompt_tokens;
    drawn.answer_tokens += length;
    if (advantages[i] > 0) totals.length_above += static_cast<double>(length), ++totals.above;
    if (advantages[i] < 0) totals.length_below += static_cast<double>(length), ++totals.below;
  }
}

void set_means(const Totals& totals, GrpoDrawn& drawn) {
  drawn.reward = mean(totals.reward, drawn.answers);
  drawn.penalty = mean(totals.penalty, drawn.answers);
  drawn.length = mean(static_cast<double>(drawn.answer_tokens), drawn.answers);
  drawn.length_above = mean(totals.length_above, totals.above);
  drawn.length_below = mean(totals.length_below, totals.below);
}

std::vector<std::vector<TokenId>> next_prompts(Problems& problems, uint64_t first, size_t n) {
  std::vector<std::vector<TokenId>> prompts;
  for (size_t i = 0; i < n; ++i) prompts.push_back(problems.prompt(first + i));
  return prompts;
}

}  // namespace

void require_valid(const GrpoOptions& o) {
  const auto require = [](bool ok, std::string_view what, std::string_view expected, auto found) {
    if (!ok) throw Error(cat("grpo: ", what, ": expected ", expected, ", found ", found));
  };
  require(o.prompts >= 1, "prompts", "at least 1", o.prompts);
  require(o.group >= 2, "group", "at least 2 answers to compare", o.group);
  require(o.updates >= 1 && o.updates <= o.prompts * o.group, "updates", "1 to the number of answers", o.updates);
  require(o.most_rounds >= 1, "most_rounds", "at least 1", o.most_rounds);
  require(o.overlong != Overlong::kSoft || (o.overlong_cache >= 1 && o.overlong_cache < o.max_tokens), "overlong_cache",
          "1 to below max_tokens", o.overlong_cache);
  require(o.objective.mean != LossMean::kConstantLength || o.objective.max_length >= 1, "max_length of the mean",
          "at least 1", o.objective.max_length);
}

GrpoBatch draw_grpo_batch(Engine& engine, Problems& problems, const GrpoOptions& options, uint64_t step,
                          uint64_t first_problem) {
  require_valid(options);
  GrpoBatch batch;
  GrpoDrawn& drawn = batch.drawn;
  Totals totals;
  size_t groups = 0;  // that are kept
  while (groups < options.prompts && drawn.rounds < (options.dynamic_sampling ? options.most_rounds : 1)) {
    const uint64_t first = first_problem + drawn.problems;
    const std::vector<std::vector<TokenId>> prompts = next_prompts(problems, first, options.prompts - groups);
    std::vector<Rollout> answers = roll_out(engine, prompts,
                                            {.samples = options.group,
                                             .temperature = options.temperature,
                                             .max_tokens = options.max_tokens,
                                             .stop_ids = options.stop_ids,
                                             .seed = options.seed,
                                             .step = static_cast<uint32_t>(step),
                                             .first_prompt = static_cast<uint32_t>(drawn.problems),
                                             .progress = options.progress});
    for (size_t p = 0; p < prompts.size(); ++p) {
      const std::span<Rollout> group = std::span(answers).subspan(p * options.group, options.group);
      const std::vector<double> rewards = grade(problems, first + p, group, options, totals);
      const std::vector<float> advantages = group_advantages(rewards, options.objective.deviation);
      count(group, advantages, drawn, totals);
      const bool equal = all_equal(rewards);
      drawn.equal += equal;
      if (equal && options.dynamic_sampling) continue;
      ++groups;
      for (const Rollout& answer : group)
        batch.kept.push_back(!(options.overlong == Overlong::kMask && answer.truncated));
      batch.rewards.insert(batch.rewards.end(), rewards.begin(), rewards.end());
      batch.advantages.insert(batch.advantages.end(), advantages.begin(), advantages.end());
      std::move(group.begin(), group.end(), std::back_inserter(batch.answers));
    }
    drawn.problems += prompts.size();
    ++drawn.rounds;
  }
  set_means(totals, drawn);
  return batch;
}

}  // namespace fathom
