#include "server/app/answer_energy.h"

#include <algorithm>

namespace fathom {

AnswerEnergy::Mark AnswerEnergy::mark() {
  const std::lock_guard lock(mutex_);
  return {meter_.read().joules, metrics_.computed_tokens()};
}

AnswerEnergy::Share AnswerEnergy::since(const Mark& begin, uint64_t tokens) {
  const std::lock_guard lock(mutex_);
  EnergyReading now = meter_.read();
  const uint64_t all = metrics_.computed_tokens() - begin.tokens;
  const double part =
      all == 0 ? 1 : std::min(1.0, static_cast<double>(tokens) / static_cast<double>(all));  // 0 of 0 tokens
  return {(now.joules - begin.joules) * part, part, std::move(now.source)};
}

}  // namespace fathom
