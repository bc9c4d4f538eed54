// What every stage of training shares: the run folder, the state, its log, and the loop around a step. A stage gives
// the step and how a state is judged. One thread.
#pragma once
#include <optional>
#include <string>

#include "base/function_ref.h"
#include "train/forward.h"
#include "train/plan.h"
#include "train/run_folder.h"
#include "train/run_log.h"
#include "train/run_state.h"
#include "train/schedule.h"
#include "train/trainer.h"

namespace fathom {

class Run {
 public:
  Run(const Recipe& recipe, const TrainOptions& options, TrainListener& listener);

  const Recipe& recipe() const { return recipe_; }
  TrainListener& listener() { return listener_; }
  RunState& state() { return state_; }
  RunLog& log() { return log_; }
  Backend& backend() { return *backend_; }
  size_t threads() const { return threads_; }
  /// Of the recipe, at most the model's own. Throws Error beyond.
  size_t context() const;
  /// What steps with micro-batches of `rows` tokens take.
  TrainingMemory memory(uint64_t rows) const;

  /// How a snapshot's forward computes in this run.
  ForwardOptions forward_options(const Snapshot& snapshot) const;

  /// One step, its gradients applied; nullopt: the listener wants to stop, and nothing was changed.
  using Step = FunctionRef<std::optional<TrainStep>()>;
  /// Puts what a held-out set says about the state into the step.
  using Judge = FunctionRef<void(TrainStep& step)>;
  /// Steps to the recipe's end, with evaluations, checkpoints, log and report.
  TrainResult loop(Step step, Judge judge);

  /// One update of the weights: norm, checks, clipping, optimizer, routers, average. Fills in the step's rate and norm.
  /// False: the numbers cannot be trusted, the batch is left out (step.skipped), nothing was changed; where the recipe
  /// says stop, the state before the step is saved, unless an earlier update of the step has changed it, and an Error
  /// ends the run.
  bool update(TrainStep& step, const Snapshot& snapshot, Gradients& gradients, std::span<const ExpertLoad> loads);
  void save(TrainResult& result);
  /// Whether train.sample_every asks for a sample after this step.
  bool sample_due(int64_t step) const { return recipe_.train.sample_every && step % recipe_.train.sample_every == 0; }
  void write_sample(int64_t step, const std::string& text) { folder_.write_sample(step, text); }
  /// Writes what the model, as it is now, makes of the beginning of `like`: of all before the first token that counts,
  /// or, of a text, where nearly all count, of 8 tokens. Up to train.sample_tokens at temperature 0.8.
  void write_sample(int64_t step, const Sample& like);

 private:
  void refuse(TrainStep& step, const std::string& wrong);
  void write_report();

  const Recipe& recipe_;
  TrainListener& listener_;
  size_t threads_;
  Schedule schedule_;
  RunFolder folder_;
  RunState state_;
  std::unique_ptr<Backend> backend_;
  ThreadPool pool_;
  RunLog log_;
  int64_t changed_by_ = 0;  // the last step that changed the weights
};

}  // namespace fathom
