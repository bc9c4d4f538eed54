#include "train/reinforce.h"

#include <chrono>

#include "base/clock.h"
#include "train/balance.h"
#include "train/grpo.h"
#include "train/plan.h"
#include "train/problems.h"
#include "train/run.h"

namespace fathom {
namespace {

using Clock = std::chrono::steady_clock;

constexpr size_t kHeldOutProblems = 128;

ProblemSource source_of(const Recipe& recipe, Split split) {
  const bool held_out = split == Split::kHeldOut && !recipe.data.validation.empty();
  return {recipe.grpo.task, held_out ? recipe.data.validation : recipe.data.train, recipe.grpo.reward_program, split,
          static_cast<uint64_t>(recipe.seed)};
}

GrpoOptions options_of(const Recipe& recipe) {
  const Recipe::Grpo& g = recipe.grpo;
  GrpoOptions o;
  o.prompts = static_cast<size_t>(g.prompts);
  o.group = static_cast<size_t>(g.group);
  o.temperature = static_cast<float>(g.temperature);
  o.max_tokens = static_cast<size_t>(g.max_tokens);
  o.seed = static_cast<uint64_t>(recipe.seed);
  o.overlong = g.overlong == "mask" ? Overlong::kMask : g.overlong == "soft" ? Overlong::kSoft : Overlong::kNone;
  o.overlong_cache = static_cast<size_t>(g.overlong_cache);
  o.dynamic_sampling = g.dynamic_sampling;
  o.objective = policy_objective(g.loss);
  o.objective.eps_low = g.epsilon_low;
  o.objective.eps_high = g.epsilon_high;
  o.objective.beta = g.beta;
  o.objective.unbiased_kl = g.kl == "unbiased";
  if (g.mask_delta > 0) o.objective.off_policy_delta = g.mask_delta;
  if (o.objective.mean == LossMean::kConstantLength) o.objective.max_length = o.max_tokens;
  if (!g.scale_rewards) o.objective.deviation = Deviation::kNone;
  o.updates = static_cast<size_t>(g.updates);
  o.micro_batch = static_cast<size_t>(recipe.train.micro_batch);
  o.balance_alpha = recipe.moe.balance_alpha;
  o.recompute = recipe.train.recompute;
  o.keep_routing = g.keep_routing;
  return o;
}

class Reinforcement {
 public:
  Reinforcement(const Recipe& recipe, const TrainOptions& options, TrainListener& listener)
      : run_(recipe, options, listener),
        recipe_(recipe),
        options_(options_of(recipe)),
        problems_(source_of(recipe, Split::kTrain), tokenizer(), run_.state().model().chat_template.get()),
        held_out_(source_of(recipe, Split::kHeldOut), tokenizer(), run_.state().model().chat_template.get()) {
    require_valid(options_);
    if (const ModelConfig& config = run_.state().model().masters.config();
        options_.keep_routing && config.n_routed_experts == 0)
      throw Error(
          cat("grpo.keep_routing: expected a model with routed experts, found a ", config.model_type, " without"));
    policy_ = run_.state().snapshot();
    engine_ = Engine::from_model(policy_.model, nullptr,
                                 {.profile = run_.state().model().profile,
                                  .threads = run_.threads(),
                                  .ctx = run_.context(),
                                  .sequences = std::min<size_t>(options_.prompts * options_.group, 64)});
    publish(policy_);
    options_.stop_ids = end_ids(tokenizer());
    options_.progress = [&listener](uint64_t /*done*/, uint64_t /*total*/) {
      if (listener.stop()) throw Interrupted();
    };
    if (recipe.grpo.beta != 0) reference_ = reference();
  }

  TrainResult run() {
    plan();
    return run_.loop([&] { return step(); }, [&](TrainStep& done) { evaluate(done); });
  }

 private:
  const Tokenizer& tokenizer() {
    if (!run_.state().model().tokenizer) throw Error("training: expected a tokenizer with model.start, found none");
    return *run_.state().model().tokenizer;
  }

  std::shared_ptr<const Model> reference() {
    const RunState& state = run_.state();
    if (state.model().frozen) return state.model().frozen;  // an adapter begins as the model without it
    return state.reference().snapshot(run_.threads(), state.model().profile);
  }

  void plan() {
    const ModelConfig& config = run_.state().model().masters.config();
    const uint64_t trained = run_.state().trained_count();
    // Of the longest answers; how long they will be, nobody knows.
    const size_t update = (options_.prompts * options_.group + options_.updates - 1) / options_.updates,
                 together = options_.micro_batch ? std::min(options_.micro_batch, update) : update;
    const uint64_t rows = together * std::min(run_.context(), problems_.prompt(0).size() + options_.max_tokens);
    const TrainingMemory memory = run_.memory(rows);
    const MemoryPlan needs = require_memory(memory, rows, "training");
    const Clock::time_point start = Clock::now();
    draw_grpo_batch(*engine_, problems_, options_, run_.state().progress().step, run_.state().position());
    TrainPlan plan{.parameters = trained,
                   .memory_bytes = std::max(needs.total, memory.tried()),
                   .available_bytes = needs.available,
                   .step_s = 2 * seconds_since(start),
                   .peak_gop_s = run_.log().measure_peak(run_.threads()),
                   .first_step = static_cast<int64_t>(run_.state().progress().step),
                   .steps = recipe_.train.steps};
    plan.what = cat("grpo ", config.model_type, ", ", trained, " parameters", policy_.adapter ? " of an adapter" : "",
                    " (", name(engine_->info().profile), "), ",
                    recipe_.grpo.task.empty() ? "problems of files, " : cat("task ", recipe_.grpo.task, ", "),
                    options_.prompts, " prompts of ", options_.group, " answers a step, ", run_.threads(), " threads");
    run_.listener().on_plan(plan);
  }

  /// Stopped before the weights change, it leaves everything as it was; from the first update on it is finished.
  std::optional<TrainStep> step() {
    try {
      return draw_and_learn();
    } catch (const Interrupted&) {
      return std::nullopt;
    }
  }

  TrainStep draw_and_learn() {
    const Clock::time_point start = Clock::now();
    RunState& state = run_.state();
    const uint64_t index = state.progress().step;
    TrainStep out{.step = static_cast<int64_t>(index) + 1, .steps = recipe_.train.steps};
    const GrpoBatch batch = draw_grpo_batch(*engine_, problems_, options_, index, state.position());
    const double drawing_s = seconds_since(start);
    const GrpoLearned learned =
        learn_grpo(*engine_, batch, options_, reference_.get(), [&](Gradients& gradients, const GrpoSums& /*sums*/) {
          if (!run_.update(out, policy_, gradients, {})) return false;
          policy_ = state.snapshot();
          publish(policy_);
          return true;
        });
    state.position() += batch.drawn.problems;
    state.advance(batch.drawn.answer_tokens);
    if (recipe_.grpo.reference_every && out.step % recipe_.grpo.reference_every == 0 && reference_) {
      state.renew_reference();
      reference_ = reference();
    }
    if (run_.sample_due(out.step)) run_.write_sample(out.step, sample_of(batch));
    report(out, batch, learned, start, drawing_s);
    return out;
  }

  /// The first group: the prompt, and each answer with its reward.
  std::string sample_of(const GrpoBatch& batch) {
    std::string out;
    for (size_t i = 0; i < std::min(options_.group, batch.answers.size()); ++i) {
      const Rollout& answer = batch.answers[i];
      if (i == 0) out = tokenizer().decode(answer.prompt_ids()) + "\n";
      out += cat("--- answer ", i + 1, " of ", options_.group, ", reward ", batch.rewards[i],
                 answer.truncated ? ", cut off" : "", "\n", tokenizer().decode(answer.completion()), "\n");
    }
    return out.empty() ? "no group had answers of different rewards\n" : out;
  }

  void report(TrainStep& out, const GrpoBatch& batch, const GrpoLearned& learned, Clock::time_point start,
              double drawing_s) {
    const GrpoDrawn& drawn = batch.drawn;
    const PolicySums& p = learned.policy;
    out.loss = p.loss;
    for (const ExpertLoad& load : learned.loads) out.expert_load = std::max(out.expert_load, expert_load(load.counts));
    out.tokens = run_.state().progress().tokens;
    const double groups = static_cast<double>(std::max<size_t>(drawn.groups, 1)),
                 answers = static_cast<double>(std::max<size_t>(drawn.answers, 1));
    out.more = {{"reward", drawn.reward},
                {"length", drawn.length},
                {"drawn_per_second", static_cast<double>(drawn.answer_tokens) / drawing_s},
                {"length_above", drawn.length_above},
                {"length_below", drawn.length_below},
                {"truncated", static_cast<double>(drawn.truncated) / answers},
                {"equal_groups", static_cast<double>(drawn.equal) / groups},
                {"kl", p.mean_kl()},
                {"entropy", p.entropy()},
                {"clip_low", p.clip_fraction_low()},
                {"clip_high", p.clip_fraction_high()},
                {"ratio_mean", p.mean_ratio()},
                {"ratio_max", p.ratio_max},
                {"verified_tokens", static_cast<double>(learned.verified_tokens)}};
    const uint64_t rows = drawn.prompt_tokens + drawn.answer_tokens;
    run_.log().measure(out, rows, training_operations(engine_->model(), rows, 64, policy_.adapter != nullptr) * 5 / 3,
                       seconds_since(start));
  }

  void publish(const Snapshot& snapshot) { engine_->publish(snapshot.model, snapshot.adapter); }

  void evaluate(TrainStep& out) {
    if (recipe_.grpo.task.empty() && recipe_.data.validation.empty()) return;  // none is held out
    std::vector<std::vector<TokenId>> prompts;
    for (size_t i = 0; i < kHeldOutProblems; ++i) prompts.push_back(held_out_.prompt(i));
    const bool averages = recipe_.optimizer.ema_decay > 0;
    if (averages) publish(run_.state().judged());
    const std::vector<Rollout> answers = roll_out(*engine_, prompts,
                                                  {.temperature = options_.temperature,
                                                   .max_tokens = options_.max_tokens,
                                                   .stop_ids = options_.stop_ids,
                                                   .seed = ~options_.seed});
    if (averages) publish(policy_);
    double sum = 0;
    for (const Rollout& answer : answers) sum += held_out_.reward(answer.prompt, answer);
    out.more.emplace_back("validation_reward", sum / static_cast<double>(answers.size()));
  }

  Run run_;
  const Recipe& recipe_;
  GrpoOptions options_;
  RecipeProblems problems_, held_out_;
  Snapshot policy_;  // what the engine computes with
  std::unique_ptr<Engine> engine_;
  std::shared_ptr<const Model> reference_;  // null: no KL
};

}  // namespace

TrainResult run_reinforcement(const Recipe& recipe, const TrainOptions& options, TrainListener& listener) {
  return Reinforcement(recipe, options, listener).run();
}

}  // namespace fathom
