#include "train/rollout.h"

#include <algorithm>
#include <list>

#include "engine/scheduler.h"
#include "sampling/logprobs.h"
#include "sampling/sampler.h"

namespace fathom {
namespace {

SamplingParams sampling_of(const RolloutOptions& options, const Rollout& rollout) {
  return {.temperature = static_cast<double>(options.temperature),  // the very number that the logits are divided by
          .top_p = 1,
          .seed = options.seed,
          .choice = rollout.sample,
          .prompt = rollout.prompt,
          .step = options.step};
}

/// An answer that is being drawn.
class Drawing final : public Running {
 public:
  Drawing(Engine& engine, const RolloutOptions& options, Rollout& rollout)
      : engine_(engine),
        options_(options),
        rollout_(rollout),
        session_(engine.pool()),
        sampler_(sampling_of(options, rollout), engine.config().vocab_size) {
    session_.set_tokens(rollout.ids);
  }

  Session& session() override { return session_; }
  bool done() const override { return over_; }
  void on_logits(std::span<const float> logits) override {
    const TokenId id = sampler_.draw(logits, static_cast<uint32_t>(session_.tokens().size()));
    rollout_.logprobs.push_back(log_softmax_at(logits, id, options_.temperature));
    rollout_.ids.push_back(id);
    session_.append(id);
    const std::vector<TokenId>& stops = options_.stop_ids;
    const bool ended = engine_.is_end_of_generation(id) || std::find(stops.begin(), stops.end(), id) != stops.end();
    rollout_.truncated = !ended && rollout_.logprobs.size() == options_.max_tokens;
    over_ = ended || rollout_.truncated;
  }
  void on_pool_full() override { check(false, "a whole context has room in the pool"); }

 private:
  Engine& engine_;
  const RolloutOptions& options_;
  Rollout& rollout_;
  Session session_;
  Sampler sampler_;
  bool over_ = false;
};

void require_room(const Engine& engine, std::span<const std::vector<TokenId>> prompts, const RolloutOptions& options) {
  if (!(options.temperature > 0))
    throw Error(cat("rollouts: expected a temperature above 0, found ", options.temperature));
  if (options.max_tokens == 0 || options.samples == 0)
    throw Error(cat("rollouts: expected at least one answer of one token, found ", options.samples, " of ",
                    options.max_tokens));
  const size_t ctx = engine.info().ctx;
  for (size_t i = 0; i < prompts.size(); ++i) {
    const size_t n = prompts[i].size();
    if (n == 0) throw Error(cat("rollouts: prompt ", options.first_prompt + i, ": expected tokens, found none"));
    if (n > ctx || options.max_tokens > ctx - n)
      throw Error(cat("rollouts: prompt ", options.first_prompt + i, ": expected at most ", ctx,
                      " tokens with its answer, found ", n, " and up to ", options.max_tokens));
  }
}

std::vector<Rollout> lay_out(std::span<const std::vector<TokenId>> prompts, const RolloutOptions& options) {
  std::vector<Rollout> out;
  out.reserve(prompts.size() * options.samples);
  for (size_t i = 0; i < prompts.size(); ++i)
    for (size_t sample = 0; sample < options.samples; ++sample)
      out.push_back({.prompt = static_cast<uint32_t>(options.first_prompt + i),
                     .sample = static_cast<uint32_t>(sample),
                     .ids = prompts[i],
                     .prompt_tokens = prompts[i].size()});
  return out;
}

/// Empties the prefix cache now and at the end, however that comes.
class PrefixesOfOneUse {
 public:
  explicit PrefixesOfOneUse(PrefixCache& prefixes) : prefixes_(prefixes) { prefixes_.clear(); }
  ~PrefixesOfOneUse() { prefixes_.clear(); }
  PrefixesOfOneUse(const PrefixesOfOneUse&) = delete;
  PrefixesOfOneUse& operator=(const PrefixesOfOneUse&) = delete;

 private:
  PrefixCache& prefixes_;
};

}  // namespace

std::vector<TokenId> end_ids(const Tokenizer& tokenizer) {
  std::vector<TokenId> out;
  for (size_t i = 0; i < tokenizer.vocab_size(); ++i)
    if (const auto id = static_cast<TokenId>(i); tokenizer.is_end_of_generation(id)) out.push_back(id);
  return out;
}

std::vector<Rollout> roll_out(Engine& engine, std::span<const std::vector<TokenId>> prompts,
                              const RolloutOptions& options) {
  const PrefixesOfOneUse cleared(engine.prefixes());
  check(engine.pool().used_pages() == 0, "rollouts have the pool for themselves");
  require_room(engine, prompts, options);
  std::vector<Rollout> out = lay_out(prompts, options);
  // Answers to one prompt share its pages; whom the pool has no room for waits his turn.
  Scheduler scheduler(engine, {.share_prefixes = true});
  std::list<Drawing> drawings;
  for (Rollout& rollout : out) scheduler.add(drawings.emplace_back(engine, options, rollout));
  while (scheduler.step()) {
    drawings.remove_if([](const Drawing& d) { return d.done(); });  // their pages go to others
    if (options.progress) options.progress(out.size() - scheduler.size(), out.size());
  }
  return out;
}

Sample sample_of(const Rollout& rollout) {
  Sample sample{rollout.ids, std::vector<uint8_t>(rollout.ids.size(), 1)};
  std::fill_n(sample.counts.begin(), rollout.prompt_tokens, 0);
  return sample;
}

}  // namespace fathom
