// What a run writes of its steps: metrics.jsonl, TensorBoard events, speed and energy. Called by the training loop.
#pragma once
#include <optional>
#include <span>

#include "base/energy.h"
#include "train/metrics.h"
#include "train/recipe.h"
#include "train/run_folder.h"
#include "train/tensorboard.h"
#include "train/trainer.h"
#include "train/trainer_state.h"

namespace fathom {

class RunLog {
 public:
  /// Goes on behind progress.step: later lines, of steps that the resumed run takes again, are cut off. `header`: more
  /// for the first line of a metrics.jsonl that begins.
  RunLog(const Recipe& recipe, const RunFolder& folder, const TrainerProgress& progress,
         const json::object& header = {});

  /// Measures the peak of f32 multiply-adds of all threads, in 10^9 operations a second, for the shares of the steps.
  double measure_peak(size_t threads);
  /// Fills in speed, share of the peak, time and energy of a step that took `seconds`.
  void measure(TrainStep& step, uint64_t rows, double operations, double seconds);
  void append(const TrainStep& step);
  void sync() { metrics_.sync(); }
  /// Of these steps the one with the largest validation reward, or where there is none the smallest validation loss;
  /// nullopt: none has either.
  std::optional<int64_t> best_checkpoint(std::span<const int64_t> steps) const;

 private:
  static MetricsLog open(const Recipe& recipe, const RunFolder& folder, const TrainerProgress& progress,
                         const json::object& header);

  EnergyMeter energy_;
  std::filesystem::path path_;
  MetricsLog metrics_;
  EventWriter events_;
  double seconds_ = 0, joules_before_ = 0, peak_gop_s_ = 0;
};

}  // namespace fathom
