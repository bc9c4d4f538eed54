// The training loop: batches through the model's own forward with a tape, gradients, optimizer, evaluation,
// checkpoints, and a run folder that says what happened (docs/training.md). Every step depends on the recipe and the
// step alone, so a run that was killed goes on from its last checkpoint with the same bits. One thread.
#pragma once
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/work.h"
#include "kernels/kernels.h"
#include "train/recipe.h"

namespace fathom {

struct TrainOptions {
  std::filesystem::path folder;   ///< of the run
  bool resume = false;            ///< go on in a run folder; its own recipe is taken
  std::filesystem::path start;    ///< folder of model.start, found by the caller; empty: new weights
  std::filesystem::path teacher;  ///< folder or file of distill.teacher, found likewise; empty: the stage has none
  std::filesystem::path cache;    ///< where encoded texts are kept
  size_t threads = 0;             ///< 0: the recipe's, else physical cores
};

/// Before the first step.
struct TrainPlan {
  std::string what;  ///< "pretrain llama, 0.80 M parameters, ..."
  uint64_t parameters = 0, memory_bytes = 0, available_bytes = 0;
  double step_s = 0;      ///< of one batch tried without an update; 0: none was tried
  double peak_gop_s = 0;  ///< of the f32 unit, measured now; 0: not known
  int64_t first_step = 0, steps = 0;
};

struct TrainStep {
  int64_t step = 0, steps = 0;  ///< this one is done, of so many
  uint64_t tokens = 0;          ///< counted targets, of all steps so far
  double seconds = 0;           ///< so far, over all resumes
  double loss = 0, mtp_loss = 0, balance_loss = 0;
  double learning_rate = 0, gradient_norm = 0;
  double tokens_per_s = 0, peak_share = 0, expert_load = 0;  ///< 0: not known
  double joules = 0;
  std::string energy_source;
  bool has_mtp = false, skipped = false;
  bool trains = true;  ///< false: stage reject, whose steps are prompts, without loss, rate and norm
  std::optional<double> validation_loss;
  /// What else the stage reports, by the names of train/metrics.h: reward, length, kl, ...
  std::vector<std::pair<std::string, double>> more;
};

/// Hears of a run. Called on the training thread.
class TrainListener {
 public:
  virtual ~TrainListener() = default;
  virtual void on_plan(const TrainPlan& /*plan*/) {}
  virtual void on_step(const TrainStep& /*step*/) {}
  virtual void on_note(const std::string& /*text*/) {}
  virtual void on_checkpoint(const std::filesystem::path& /*folder*/) {}
  /// True: save and end. Asked between steps and micro-batches.
  virtual bool stop() { return false; }
  /// Of encoding the data.
  virtual WorkProgress data_progress() { return {}; }
  /// Of drawing answers that are not trained on.
  virtual WorkProgress drawing_progress() { return {}; }
};

struct TrainResult {
  int64_t step = 0;
  bool stopped = false;  ///< by the listener; a resume goes on
  double loss = 0;       ///< of the last step
  std::optional<double> validation_loss;
  std::filesystem::path checkpoint;  ///< the newest; empty: stage reject has none
};

/// Runs a recipe of stage pretrain, sft, distill, dpo, grpo or reject to its end. Throws Error for wrong recipes,
/// models and data; ResourceError with the numbers where memory does not suffice; Error naming step and tensor where a
/// loss or gradient is no number or jumps and the recipe says stop: the state before that step is saved then.
TrainResult run_training(const Recipe& recipe, const TrainOptions& options, TrainListener& listener);

}  // namespace fathom
