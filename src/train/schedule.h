// The learning rate of every step. Called by the training loop and by reports that draw it. No state: thread-safe.
#pragma once
#include <cstdint>

namespace fathom {

enum class ScheduleShape {
  kConstant,  ///< the peak to the end
  kCosine,    ///< half a cosine from the peak to the least, over all steps after the warm-up
  kWsd,       ///< warm-up, stable, decay: the peak, then a straight line to the least over the last decay_steps
};

struct Schedule {
  ScheduleShape shape = ScheduleShape::kConstant;
  double peak = 0;            ///< learning rate after the warm-up
  double least = 0;           ///< where kCosine and kWsd end
  uint64_t warmup_steps = 0;  ///< w: a straight line up to the peak
  uint64_t total_steps = 0;   ///< N: of the whole run
  uint64_t decay_steps = 0;   ///< kWsd only
};

/// least + (peak - least) (1 + cos(pi x)) / 2 for x in [0, 1]; x beyond is taken as the nearer end.
double cosine_decay(double peak, double least, double x);

/// The learning rate of step `step`, counted from 0:
///   step < w:  peak (step + 1) / (w + 1); so step 0 gets peak / (w + 1), never 0, and step w is the first at the peak
///   kCosine:   cosine_decay(peak, least, (step - w) / (N - w))
///   kWsd:      with d = decay_steps and s = N - d: the peak for step < s, then peak + (least - peak) (step - s) / d
/// From step N on, kCosine and kWsd stay at the least.
double learning_rate(const Schedule& schedule, uint64_t step);

/// Throws Error naming the value: a peak that is not above 0, a least outside [0, peak], a warm-up (with kWsd's decay)
/// longer than the run. Constant runs may be of any length.
void require_valid(const Schedule& schedule);

}  // namespace fathom
