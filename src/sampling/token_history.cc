#include "sampling/token_history.h"

namespace fathom {

void TokenHistory::add(TokenId id, bool from_prompt) {
  Count& count = counts_[id];
  ++count.seen;
  if (!from_prompt) ++count.generated;
  if (window_ == 0) return;
  if (recent_.size() < window_) return recent_.push_back(id);
  --counts_[recent_[oldest_]].seen;
  recent_[oldest_] = id;
  oldest_ = (oldest_ + 1) % window_;
}

void TokenHistory::penalise(std::span<double> logits, const SamplingParams& params) const {
  const double r = params.repetition_penalty;
  for (const auto& [id, count] : counts_) {  // in any order: each id changes its own logit alone
    double& logit = logits[static_cast<size_t>(id)];
    if (count.seen > 0) logit = logit > 0 ? logit / r : logit * r;
    if (count.generated > 0) logit = logit - count.generated * params.frequency_penalty - params.presence_penalty;
  }
}

}  // namespace fathom
