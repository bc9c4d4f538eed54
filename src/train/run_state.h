// All that a training step changes, and its checkpoints: masters, optimizer, average, router biases, progress.
// Called by the training loop. One thread.
#pragma once
#include <filesystem>
#include <optional>
#include <string>

#include "kernels/backend.h"
#include "ops/context.h"
#include "train/adapter_masters.h"
#include "train/ema.h"
#include "train/optimizer.h"
#include "train/run_folder.h"
#include "train/start_model.h"
#include "train/trainer.h"
#include "train/trainer_state.h"

namespace fathom {

/// What a step computes with: a model, and the adapter that is trained beside it, or null.
struct Snapshot {
  std::shared_ptr<const Model> model;
  std::shared_ptr<const Adapter> adapter;
};

class RunState {
 public:
  /// The recipe's start, or the newest checkpoint of the folder where options.resume says so (the start where it has
  /// none). Throws Error naming what is damaged or belongs to another recipe.
  RunState(const Recipe& recipe, const TrainOptions& options, const RunFolder& folder, size_t threads);

  const StartModel& model() const { return model_; }
  const TrainerProgress& progress() const { return progress_; }
  /// The weights, or the adapter, that are trained.
  const std::vector<Parameter>& trained() const {
    return adapter_ ? adapter_->parameters() : model_.masters.parameters();
  }
  uint64_t trained_count() const { return adapter_ ? adapter_->count() : model_.masters.count(); }
  /// Packed from the masters as they are now.
  Snapshot snapshot() const;
  /// What evaluation uses: the average of the weights where the recipe keeps one, else snapshot().
  Snapshot judged() const;
  std::vector<Tensor> gather(const Snapshot& snapshot, Gradients& gradients) const;

  /// Empty, or why a step must not change the weights: a loss or gradient that is no number (names the tensor), or a
  /// loss above train.spike_factor times the mean of the last ones.
  std::string what_is_wrong(const TrainStep& step, std::span<const Tensor> gradients) const;
  /// One optimizer step, balance of the routers, average.
  void update(double learning_rate, float clip, std::span<const Tensor> gradients, std::span<const ExpertLoad> loads,
              double loss, Backend& backend, ThreadPool& pool);
  /// A step is over, updated or not.
  void advance(uint64_t tokens) { ++progress_.step, progress_.tokens += tokens; }

  /// Where a stage stands in its data beyond the step: the next problem of reinforcement. Part of the state.
  uint64_t& position() { return *reinterpret_cast<uint64_t*>(position_.data<int64_t>()); }
  /// The frozen policy that the KL of reinforcement holds on to, where the recipe has one: the masters at the
  /// beginning, and after renew_reference as they were then. Part of the state. Not where an adapter is trained: there
  /// it is the frozen model.
  const Masters& reference() const { return *reference_; }
  void renew_reference();

  /// Writes model and state into an empty folder; the average as a model folder of its own, ema/.
  void save(const std::filesystem::path& folder) const;

 private:
  NamedTensors tensors() const;

  const Recipe& recipe_;
  RunIdentity identity_;
  size_t threads_;
  StartModel model_;
  std::optional<AdapterMasters> adapter_;
  Optimizer optimizer_;
  std::optional<Ema> ema_;
  std::optional<Masters> average_;                 // shares the average's memory; none where an adapter is trained
  std::optional<AdapterMasters> average_adapter_;  // the same of an adapter
  NamedTensors reference_values_;                  // "reference.NAME"; empty: none
  std::optional<Masters> reference_;               // shares their memory
  Tensor position_;                                // [1] i64
  Tensor recent_losses_;                           // [n] f64, the newest last; NaN: none yet
  TrainerProgress progress_;
};

}  // namespace fathom
