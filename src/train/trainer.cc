#include "train/trainer.h"

#include <algorithm>
#include <chrono>

#include "base/clock.h"
#include "engine/memory.h"
#include "train/data.h"
#include "train/distill.h"
#include "train/forward.h"
#include "train/objectives.h"
#include "train/plan.h"
#include "train/preference.h"
#include "train/reinforce.h"
#include "train/reject.h"
#include "train/run.h"

namespace fathom {
namespace {

using Clock = std::chrono::steady_clock;

/// Whole samples, at most `most` at a time; 0: all.
std::vector<std::span<const Sample>> micro_batches(std::span<const Sample> batch, size_t most) {
  std::vector<std::span<const Sample>> out;
  const size_t n = most == 0 ? std::max<size_t>(1, batch.size()) : most;
  for (size_t i = 0; i < batch.size(); i += n) out.push_back(batch.subspan(i, std::min(n, batch.size() - i)));
  return out;
}

uint64_t rows_of(std::span<const Sample> samples) {
  uint64_t rows = 0;
  for (const Sample& s : samples) rows += s.ids.size() - 1;
  return rows;
}

void add_loads(std::vector<ExpertLoad>& sums, const std::vector<ExpertLoad>& more) {
  if (sums.empty()) sums.resize(more.size());
  for (size_t i = 0; i < more.size(); ++i) {
    sums[i].gate = more[i].gate;
    sums[i].counts.resize(more[i].counts.size());
    for (size_t e = 0; e < more[i].counts.size(); ++e) sums[i].counts[e] += more[i].counts[e];
  }
}

/// Next-token prediction: stages pretrain and sft, and distill with a teacher beside it.
class Trainer {
 public:
  Trainer(const Recipe& recipe, const TrainOptions& options, TrainListener& listener)
      : run_(recipe, options, listener),
        recipe_(recipe),
        data_(open_data(recipe, run_.state().model(), run_.context(), options.cache, listener.data_progress())) {
    for (const std::string& note : data_.notes) listener.on_note(note);
    if (recipe.stage == "distill") distillation_ = std::make_unique<Distillation>(run_, options.teacher);
  }

  TrainResult run() {
    plan();
    return run_.loop([&] { return step(); },
                     [&](TrainStep& done) {
                       if (!data_.validation.empty()) evaluate(done);
                     });
  }

 private:
  size_t most() const { return static_cast<size_t>(recipe_.train.micro_batch); }

  ForwardOptions forward_options(const Snapshot& model, size_t sequences) const {
    const ModelConfig& c = model.model->config();
    ForwardOptions options = run_.forward_options(model);
    options.mtp = c.num_nextn_predict_layers != 0 && recipe_.mtp.weight != 0 && !model.adapter;
    options.head = false;
    if (c.n_routed_experts) options.balance_weight = recipe_.moe.balance_alpha / static_cast<double>(sequences);
    return options;
  }

  /// Refuses what does not fit, tries one micro-batch without an update, and says what is coming.
  void plan() {
    const Masters& masters = run_.state().model().masters;
    std::vector<Sample> batch = data_.train->batch(run_.state().progress().step);
    const bool draws = distillation_ && recipe_.distill.on_policy > 0;  // answers as long as the context, perhaps
    uint64_t most_rows = 0;
    for (const std::span<const Sample> part : micro_batches(batch, most()))
      most_rows = std::max(most_rows, draws ? part.size() * run_.context() : rows_of(part));
    const RunState& state = run_.state();
    TrainingMemory memory = run_.memory(most_rows);
    if (distillation_) memory.teacher = distillation_->memory_bytes(most_rows);
    const MemoryPlan needs = require_memory(memory, most_rows, "training");
    TrainPlan plan{.parameters = state.trained_count(),
                   .memory_bytes = needs.total,
                   .available_bytes = needs.available,
                   .peak_gop_s = run_.log().measure_peak(run_.threads()),
                   .first_step = static_cast<int64_t>(run_.state().progress().step),
                   .steps = recipe_.train.steps};
    plan.what = cat(recipe_.stage, " ", masters.config().model_type, ", ", state.trained_count(),
                    state.model().frozen
                        ? cat(" parameters of an adapter beside a frozen model (", name(state.model().profile), "), ")
                        : " parameters, ",
                    distillation_ ? distillation_->what() + ", " : "", recipe_.train.batch, " sequences of up to ",
                    run_.context(), " tokens a step, ", run_.threads(), " threads");
    if (distillation_) distillation_->load();
    Clock::time_point start = Clock::now();
    TrainStep unused;
    if (!answered(batch, unused)) return;
    plan.step_s = seconds_since(start);
    start = Clock::now();
    const auto parts = micro_batches(batch, most());
    const Snapshot model = run_.state().snapshot();
    Gradients gradients;
    pass(model, parts.front(), count_targets(batch), batch.size(), &gradients, unused, {});
    plan.step_s += seconds_since(start) * static_cast<double>(parts.size());
    plan.memory_bytes = std::max(plan.memory_bytes, memory.tried());
    run_.listener().on_plan(plan);
  }

  /// Puts the student's own answers into the batch where the recipe asks for them. False: the listener wants to stop.
  bool answered(std::vector<Sample>& batch, TrainStep& step) {
    if (!distillation_) return true;
    std::optional<std::vector<Sample>> answers = distillation_->with_answers(std::move(batch), step);
    if (answers) batch = std::move(*answers);
    return answers.has_value();
  }

  /// Forward, losses and, with gradients, backward of one micro-batch.
  void pass(const Snapshot& model, std::span<const Sample> samples, const TargetCounts& all, size_t sequences,
            Gradients* gradients, TrainStep& sums, const std::function<void(const TrainingPass&)>& on_pass) {
    TrainingForward forward(run_.backend(), *model.model, samples, forward_options(model, sequences),
                            gradients != nullptr);
    if (distillation_) {
      distillation_->add(forward, samples, all.tokens, gradients, distilled_);
    } else {
      const std::vector<float> d = cross_entropy_derivatives(forward.targets(), all.tokens);
      add_cross_entropy(forward.log_probs_of_known(d, gradients), forward.targets(), all.tokens, sums.loss);
    }
    add_cross_entropy(forward.mtp_log_probs(), forward.mtp_targets(), all.mtp_tokens, sums.mtp_loss);
    const std::vector<float> d_mtp =
        cross_entropy_derivatives(forward.mtp_targets(), all.mtp_tokens, recipe_.mtp.weight);
    sums.balance_loss += forward.pass().balance_loss;
    sums.has_mtp = !forward.mtp_log_probs().empty();
    if (on_pass) on_pass(forward.pass());
    if (gradients) forward.backward({}, d_mtp, *gradients);
  }

  std::optional<TrainStep> step() {
    const Clock::time_point start = Clock::now();
    RunState& state = run_.state();
    const uint64_t index = state.progress().step;
    std::vector<Sample> batch = data_.train->batch(index);
    TrainStep out{.step = static_cast<int64_t>(index) + 1, .steps = recipe_.train.steps};
    if (!answered(batch, out)) return std::nullopt;
    const TargetCounts all = count_targets(batch);
    distilled_ = {};
    const Snapshot model = state.snapshot();
    Gradients gradients;
    std::vector<ExpertLoad> loads;
    for (const std::span<const Sample> part : micro_batches(batch, most())) {
      if (run_.listener().stop()) return std::nullopt;
      pass(model, part, all, batch.size(), &gradients, out, [&](const TrainingPass& p) { add_loads(loads, p.loads); });
    }
    if (distillation_) distillation_->report(out, distilled_, "");
    run_.update(out, model, gradients, loads);
    state.advance(static_cast<uint64_t>(all.tokens));
    out.tokens = state.progress().tokens;
    const uint64_t rows = rows_of(batch);
    if (run_.sample_due(out.step)) run_.write_sample(out.step, data_.train->batch(0).front());
    const uint64_t length = rows / batch.size();
    run_.log().measure(out, rows,
                       training_operations(*model.model, rows, length, model.adapter != nullptr) +
                           (distillation_ ? distillation_->operations(rows, length) : 0),
                       seconds_since(start));
    return out;
  }

  void evaluate(TrainStep& out) {
    const Snapshot model = run_.state().judged();
    const TargetCounts all = count_targets(data_.validation);
    TrainStep sums;
    distilled_ = {};
    const size_t most =
        static_cast<size_t>(recipe_.train.micro_batch ? recipe_.train.micro_batch : recipe_.train.batch);
    for (const std::span<const Sample> part : micro_batches(data_.validation, most))
      pass(model, part, all, data_.validation.size(), nullptr, sums, {});
    out.validation_loss = sums.loss;
    if (distillation_) distillation_->report(out, distilled_, "validation_");
  }

  Run run_;
  const Recipe& recipe_;
  TrainingData data_;
  std::unique_ptr<Distillation> distillation_;  // null: the stage has no teacher
  DistillSums distilled_;                       // of the step or evaluation that runs
};

}  // namespace

TrainResult run_training(const Recipe& recipe, const TrainOptions& options, TrainListener& listener) {
  if (recipe.stage == "grpo") return run_reinforcement(recipe, options, listener);
  if (recipe.stage == "dpo") return run_preferences(recipe, options, listener);
  if (recipe.stage == "reject") return run_rejection(recipe, options, listener);
  return Trainer(recipe, options, listener).run();
}

}  // namespace fathom
