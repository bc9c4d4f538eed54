#include "train/preference.h"

#include <algorithm>
#include <chrono>

#include "base/clock.h"
#include "train/chat_data.h"
#include "train/forward.h"
#include "train/objectives.h"
#include "train/plan.h"
#include "train/run.h"
#include "train/sampler.h"

namespace fathom {
namespace {

using Clock = std::chrono::steady_clock;

/// The log-probabilities of a sample's counted tokens, and the rows that they stand in.
struct Counted {
  std::vector<float> log_probs;
  std::vector<size_t> rows;
};
Counted counted(const TrainingForward& forward, const SequenceRows& rows) {
  Counted out;
  for (size_t i = rows.row; i < rows.row + rows.rows; ++i) {
    if (forward.targets()[i] < 0) continue;
    out.log_probs.push_back(forward.log_probs()[i]);
    out.rows.push_back(i);
  }
  return out;
}

class Preferences {
 public:
  Preferences(const Recipe& recipe, const TrainOptions& options, TrainListener& listener)
      : run_(recipe, options, listener), recipe_(recipe) {
    const StartModel& model = run_.state().model();
    if (!model.tokenizer) throw Error("training: expected a tokenizer with model.start, found none");
    const auto read = [&](const std::vector<std::string>& names) {
      return read_preferences({names.begin(), names.end()}, *model.tokenizer, model.chat_template.get(),
                              {.context = run_.context()}, listener.data_progress());
    };
    train_ = read(recipe.data.train);
    if (!recipe.data.validation.empty()) validation_ = read(recipe.data.validation);
    const auto kept = static_cast<size_t>(static_cast<double>(train_.size()) * (1 - recipe.data.validation_fraction));
    if (kept == 0)
      throw Error(cat("data.validation_fraction: expected some of ", train_.size(), " pairs left to train"));
    validation_.insert(validation_.end(), train_.begin() + static_cast<std::ptrdiff_t>(kept), train_.end());
    train_.resize(kept);
    // A sample of one id stands for each pair: the sampler draws their order.
    std::vector<Sample> order(train_.size());
    for (size_t i = 0; i < order.size(); ++i) order[i] = {{static_cast<TokenId>(i)}, {0}};
    order_ = make_epoch_sampler(std::move(order), 0, static_cast<size_t>(recipe.train.batch),
                                static_cast<uint64_t>(recipe.seed));
    if (!model.frozen) reference_ = run_.state().reference().snapshot(run_.threads(), run_.state().model().profile);
  }

  TrainResult run() {
    plan();
    return run_.loop([&] { return step(); }, [&](TrainStep& done) { evaluate(done); });
  }

 private:
  std::vector<PreferenceSamples> batch(uint64_t step) {
    std::vector<PreferenceSamples> out;
    for (const Sample& s : order_->batch(step)) out.push_back(train_[static_cast<size_t>(s.ids[0])]);
    return out;
  }
  /// Pairs computed together.
  size_t most() const {
    return recipe_.train.micro_batch ? std::max<size_t>(1, static_cast<size_t>(recipe_.train.micro_batch) / 2)
                                     : static_cast<size_t>(recipe_.train.batch);
  }

  void plan() {
    const std::vector<PreferenceSamples> pairs = batch(run_.state().progress().step);
    const size_t n = std::min(most(), pairs.size());
    const ModelConfig& config = run_.state().model().masters.config();
    uint64_t rows = 0;
    for (size_t i = 0; i < n; ++i) rows += pairs[i].chosen.ids.size() + pairs[i].rejected.ids.size() - 2;
    const TrainingMemory memory = run_.memory(rows);
    const MemoryPlan needs = require_memory(memory, rows, "training");
    const Clock::time_point start = Clock::now();
    Gradients gradients;
    PreferenceSums sums;
    pass(run_.state().snapshot(), {pairs.data(), n}, pairs.size(), &gradients, sums);
    TrainPlan plan{.parameters = run_.state().trained_count(),
                   .memory_bytes = std::max(needs.total, memory.tried()),
                   .available_bytes = needs.available,
                   .step_s = seconds_since(start) * static_cast<double>(pairs.size()) / static_cast<double>(n),
                   .peak_gop_s = run_.log().measure_peak(run_.threads()),
                   .first_step = static_cast<int64_t>(run_.state().progress().step),
                   .steps = recipe_.train.steps};
    plan.what = cat("dpo ", config.model_type, ", ", run_.state().trained_count(), " parameters",
                    run_.state().model().frozen ? " of an adapter" : "", ", ", train_.size(), " pairs, ",
                    recipe_.train.batch, " a step, ", run_.threads(), " threads");
    run_.listener().on_plan(plan);
  }

  /// Forward of model and reference, losses and, with gradients, backward. Returns the rows computed.
  uint64_t pass(const Snapshot& model, std::span<const PreferenceSamples> pairs, size_t all, Gradients* gradients,
                PreferenceSums& sums) {
    std::vector<Sample> samples;
    for (const PreferenceSamples& pair : pairs) samples.insert(samples.end(), {pair.chosen, pair.rejected});
    ForwardOptions options = run_.forward_options(model);
    TrainingForward forward(run_.backend(), *model.model, samples, options, gradients != nullptr);
    options.adapter = nullptr;
    const Model& reference = reference_ ? *reference_ : *model.model;
    const TrainingForward frozen(run_.backend(), reference, samples, options, /*tape=*/false);
    std::vector<float> d(forward.log_probs().size());
    for (size_t i = 0; i < samples.size(); i += 2) {
      const Counted chosen = counted(forward, forward.rows()[i]), rejected = counted(forward, forward.rows()[i + 1]),
                    ref_chosen = counted(frozen, frozen.rows()[i]),
                    ref_rejected = counted(frozen, frozen.rows()[i + 1]);
      const PreferenceDerivatives derivatives =
          dpo_loss({chosen.log_probs, rejected.log_probs, ref_chosen.log_probs, ref_rejected.log_probs},
                   recipe_.dpo.beta, all, sums);
      for (const size_t row : chosen.rows) d[row] = derivatives.chosen;
      for (const size_t row : rejected.rows) d[row] = derivatives.rejected;
    }
    if (gradients) forward.backward(d, {}, *gradients);
    return d.size();
  }

  std::optional<TrainStep> step() {
    const Clock::time_point start = Clock::now();
    RunState& state = run_.state();
    const uint64_t index = state.progress().step;
    const std::vector<PreferenceSamples> pairs = batch(index);
    TrainStep out{.step = static_cast<int64_t>(index) + 1, .steps = recipe_.train.steps};
    const Snapshot model = state.snapshot();
    Gradients gradients;
    PreferenceSums sums;
    uint64_t rows = 0;
    for (size_t i = 0; i < pairs.size(); i += most()) {
      if (run_.listener().stop()) return std::nullopt;
      rows += pass(model, {pairs.data() + i, std::min(most(), pairs.size() - i)}, pairs.size(), &gradients, sums);
    }
    out.loss = sums.loss;
    report(out, sums, "");
    run_.update(out, model, gradients, {});
    state.advance(rows);
    if (run_.sample_due(out.step)) run_.write_sample(out.step, train_.front().chosen);
    out.tokens = state.progress().tokens;
    run_.log().measure(
        out, rows, training_operations(*model.model, rows, rows / (2 * pairs.size()), model.adapter != nullptr) * 4 / 3,
        seconds_since(start));
    return out;
  }

  static void report(TrainStep& out, const PreferenceSums& sums, const std::string& prefix) {
    const double pairs = static_cast<double>(std::max<size_t>(sums.pairs, 1));
    out.more.emplace_back(prefix + "preferred", static_cast<double>(sums.preferred) / pairs);
    out.more.emplace_back(prefix + "margin", (sums.chosen_reward - sums.rejected_reward) / pairs);
  }

  void evaluate(TrainStep& out) {
    if (validation_.empty()) return;
    PreferenceSums sums;
    const Snapshot model = run_.state().judged();
    for (size_t i = 0; i < validation_.size(); i += most())
      pass(model, {validation_.data() + i, std::min(most(), validation_.size() - i)}, validation_.size(), nullptr,
           sums);
    out.validation_loss = sums.loss;
    report(out, sums, "validation_");
  }

  Run run_;
  const Recipe& recipe_;
  std::vector<PreferenceSamples> train_, validation_;
  std::unique_ptr<SequenceSampler> order_;
  std::unique_ptr<const Model> reference_;  // null: the frozen model beside an adapter
};

}  // namespace

TrainResult run_preferences(const Recipe& recipe, const TrainOptions& options, TrainListener& listener) {
  return Preferences(recipe, options, listener).run();
}

}  // namespace fathom
