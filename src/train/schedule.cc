#include "train/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "base/error.h"

namespace fathom {

double cosine_decay(double peak, double least, double x) {
  return least + (peak - least) * (1 + std::cos(std::numbers::pi * std::clamp(x, 0.0, 1.0))) / 2;
}

double learning_rate(const Schedule& schedule, uint64_t step) {
  const auto [shape, peak, least, w, n, d] = schedule;
  if (step < w) return peak * static_cast<double>(step + 1) / static_cast<double>(w + 1);
  if (shape == ScheduleShape::kConstant) return peak;
  if (step >= n) return least;
  if (shape == ScheduleShape::kCosine)
    return cosine_decay(peak, least, static_cast<double>(step - w) / static_cast<double>(n - w));
  if (step < n - d) return peak;
  return peak + (least - peak) * static_cast<double>(step - (n - d)) / static_cast<double>(d);
}

void require_valid(const Schedule& schedule) {
  if (!(schedule.peak > 0) || !std::isfinite(schedule.peak))
    throw Error(cat("learning rate: expected a peak above 0, found ", schedule.peak));
  if (schedule.shape == ScheduleShape::kConstant) return;
  if (!(schedule.least >= 0 && schedule.least <= schedule.peak))
    throw Error(cat("learning rate: expected a least from 0 to the peak ", schedule.peak, ", found ", schedule.least));
  const uint64_t decay = schedule.shape == ScheduleShape::kWsd ? schedule.decay_steps : 0;
  if (schedule.warmup_steps > schedule.total_steps || decay > schedule.total_steps - schedule.warmup_steps)
    throw Error(cat("learning rate: expected at most the run's ", schedule.total_steps,
                    " steps for warm-up and decay, found ", schedule.warmup_steps, " and ", decay));
}

}  // namespace fathom
