#include "engine/scheduler.h"

#include <algorithm>

namespace fathom {

void Scheduler::add(Running& sequence) {
  check(std::find(running_.begin(), running_.end(), &sequence) == running_.end(), "a sequence is added once");
  running_.push_back(&sequence);
}

bool Scheduler::step() {
  const bool worked = run_forward();
  std::erase_if(running_, [](const Running* r) { return r->done(); });
  return worked;
}

bool Scheduler::run_forward() {
  std::erase_if(running_, [](const Running* r) { return r->done(); });
  rows_.clear(), scheduled_.clear(), ids_.clear(), positions_.clear(), last_rows_.clear();
  // Those with the fewest pending tokens first: a long prompt never keeps the others' tokens waiting.
  std::stable_sort(running_.begin(), running_.end(),
                   [](Running* a, Running* b) { return a->session().pending() < b->session().pending(); });
  size_t room = engine_.prefill_chunk();
  Running* waiting = nullptr;  // the first that found no page: it waits while others go on, whose pages come back
  for (Running* r : running_) {
    Session& s = r->session();
    const size_t n = std::min(room, s.pending());
    if (n == 0) continue;
    if (!s.kv().reserve(n)) {
      waiting = waiting ? waiting : r;
      continue;
    }
    room -= n;
    rows_.push_back({ids_.size(), n, s.cached(), s.kv().pages()});
    scheduled_.push_back(r);
    for (size_t i = 0; i < n; ++i) {
      ids_.push_back(s.tokens()[s.cached() + i]);
      positions_.push_back(static_cast<int32_t>(s.cached() + i));
    }
  }
  if (ids_.empty()) {
    if (waiting) waiting->on_pool_full();
    return waiting != nullptr;
  }

  Context ctx = engine_.context();
  const Tensor hidden =
      engine_.model().forward(ctx, {from_ids(ids_), {}, from_ids(positions_), rows_}, engine_.kv_layout());
  std::vector<Running*> complete;
  for (size_t i = 0; i < scheduled_.size(); ++i) {
    Session& s = scheduled_[i]->session();
    s.kv().advance(rows_[i].rows);
    if (s.pending() != 0) {
      scheduled_[i]->on_prefill();
      continue;
    }
    complete.push_back(scheduled_[i]);
    last_rows_.push_back(static_cast<int32_t>(rows_[i].row + rows_[i].rows - 1));
  }
  if (complete.empty()) return true;
  const Tensor last = ctx.make(DType::kF32, {complete.size(), hidden.shape().back()});
  ctx.backend.gather_rows(last, hidden, from_ids(last_rows_));
  const Tensor logits = engine_.model().logits(ctx, last);
  const size_t V = logits.shape().back();
  for (size_t i = 0; i < complete.size(); ++i) complete[i]->on_logits({logits.data<float>() + i * V, V});
  return true;
}

}  // namespace fathom
