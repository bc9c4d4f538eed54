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

/// Pending tokens, as many as there is room for. Returns the first sequence that found no page: it waits while others
/// go on, whose pages come back; null: all did.
Running* Scheduler::take_pending() {
  // Those with the fewest pending tokens first: a long prompt never keeps the others' tokens waiting.
  // Ties stay in their order; std::stable_sort would allocate.
  const auto fewer = [](Running* a, Running* b) { return a->session().pending() < b->session().pending(); };
  for (auto r = running_.begin(); r != running_.end(); ++r)
    std::rotate(std::upper_bound(running_.begin(), r, *r, fewer), r, r + 1);
  size_t room = engine_.prefill_chunk();
  Running* waiting = nullptr;
  for (Running* r : running_) {
    Session& s = r->session();
    const size_t n = std::min(room, s.pending());
    if (n == 0) continue;
    if (!s.kv().reserve(n)) {
      waiting = waiting ? waiting : r;
      continue;
    }
    room -= n;
    parts_.push_back({r, n, s.cached()});
  }
  return waiting;
}

/// The guesses that pay, the likeliest first; they take pages that nobody waits for.
void Scheduler::take_drafts() {
  candidates_.clear(), chances_.clear();
  size_t rows = 0, tokens = 0;
  for (Part& p : parts_) {
    rows += p.pending;
    if (!p.complete()) continue;
    ++tokens;
    p.guesses = p.running->drafts();
    for (const Draft& d : p.guesses) candidates_.emplace_back(d.chance, &p);
  }
  std::ranges::sort(candidates_, [](const auto& a, const auto& b) {
    return a.first != b.first ? a.first > b.first : a.second < b.second;
  });
  for (const auto& [chance, part] : candidates_) chances_.push_back(chance);
  if (chances_.size() > kMostDrafts) chances_.resize(kMostDrafts);
  const size_t n = drafts_that_pay(engine_.pass_cost(), rows, tokens, chances_);
  for (size_t i = 0; i < n; ++i) ++candidates_[i].second->drafted;
  for (Part& p : parts_)
    if (p.drafted != 0 && !p.running->session().kv().reserve(p.rows())) p.drafted = 0;
}

void Scheduler::lay_rows() {
  rows_.clear(), ids_.clear(), positions_.clear();
  for (Part& p : parts_) {
    Session& s = p.running->session();
    p.row = ids_.size();
    rows_.push_back({p.row, p.rows(), p.position, s.kv().pages()});
    for (size_t i = 0; i < p.rows(); ++i) {
      ids_.push_back(i < p.pending ? s.tokens()[p.position + i] : p.guesses[i - p.pending].id);
      positions_.push_back(static_cast<int32_t>(p.position + i));
    }
  }
}

bool Scheduler::run_forward() {
  std::erase_if(running_, [](const Running* r) { return r->done(); });
  parts_.clear();
  Running* waiting = take_pending();
  if (parts_.empty()) {
    if (waiting) waiting->on_pool_full();
    return waiting != nullptr;
  }
  take_drafts();
  lay_rows();
  Context ctx = engine_.context();
  const Tensor hidden =
      engine_.model().forward(ctx, {view_of_ids(ids_), {}, view_of_ids(positions_), rows_}, engine_.kv_layout());
  hand_out(ctx, hidden);
  if (engine_.model().has_mtp()) run_mtp(ctx, hidden);
  return true;
}

/// Logits to the sequences that are complete; those of all rows that draw a token, in one product.
void Scheduler::hand_out(Context& ctx, const Tensor& hidden) {
  wanted_rows_.clear();
  for (const Part& p : parts_)
    for (size_t i = p.pending - 1; p.complete() && i < p.rows(); ++i)
      wanted_rows_.push_back(static_cast<int32_t>(p.row + i));
  Tensor logits;
  if (!wanted_rows_.empty()) {
    const Tensor wanted = ctx.make(DType::kF32, {wanted_rows_.size(), hidden.shape().back()});
    ctx.backend.gather_rows(wanted, hidden, view_of_ids(wanted_rows_));
    logits = engine_.model().logits(ctx, wanted);
  }
  size_t row = 0;
  for (Part& p : parts_) {
    const bool complete = p.complete();
    p.running->session().kv().advance(p.pending);
    if (!complete) {
      p.running->on_prefill();
      continue;
    }
    const size_t n = p.drafted + 1, V = logits.shape().back();
    verify(p, {logits.data<float>() + row * V, n * V});
    row += n;
  }
}

/// logits [1 + drafts, V]. Each row is drawn from as if it were alone; the next one counts if its token was drawn. Rows
/// in the cache beyond that are as if never written: the next forward overwrites them (spec/numerics.md 5).
void Scheduler::verify(Part& part, std::span<const float> logits) {
  Session& s = part.running->session();
  const size_t V = logits.size() / (part.drafted + 1), first = part.row + part.pending;
  size_t accepted = 0;
  for (;; ++accepted) {
    part.running->on_logits(logits.subspan(accepted * V, V));
    if (accepted == part.drafted || part.running->done() || s.tokens().back() != ids_[first + accepted]) break;
    s.kv().advance(1);
  }
  if (part.drafted != 0) s.kv().truncate(s.kv().length());  // a page taken for drafts alone goes back
  part.running->on_verified(part.drafted, accepted);
}

/// The module at every position that the step has made sure of, so that its cache has no holes: position i reads token
/// i + 1, which is there, pending or just drawn.
void Scheduler::run_mtp(Context& ctx, const Tensor& hidden) {
  rows_.clear(), ids_.clear(), positions_.clear(), wanted_rows_.clear(), last_rows_.clear(), guessing_.clear();
  for (const Part& p : parts_) {
    Session& s = p.running->session();
    if (p.running->done() || !p.running->wants_mtp() || s.mtp_cached() != p.position) continue;
    const size_t row = ids_.size(), n = s.cached() - p.position;
    rows_.push_back({row, n, p.position, s.kv().pages()});
    for (size_t i = 0; i < n; ++i) {
      ids_.push_back(s.tokens()[p.position + i + 1]);
      positions_.push_back(static_cast<int32_t>(p.position + i));
      wanted_rows_.push_back(static_cast<int32_t>(p.row + i));
    }
    s.set_mtp_cached(s.cached());
    if (s.pending() != 1) continue;
    last_rows_.push_back(static_cast<int32_t>(row + n - 1));
    guessing_.push_back(p.running);
  }
  if (ids_.empty()) return;
  const Tensor h = ctx.make(DType::kF32, {ids_.size(), hidden.shape().back()});
  ctx.backend.gather_rows(h, hidden, view_of_ids(wanted_rows_));
  const Tensor out =
      engine_.model().mtp_forward(ctx, {view_of_ids(ids_), {}, view_of_ids(positions_), rows_}, h, engine_.kv_layout());
  if (guessing_.empty()) return;
  const Tensor last = ctx.make(DType::kF32, {guessing_.size(), out.shape().back()});
  ctx.backend.gather_rows(last, out, view_of_ids(last_rows_));
  const Tensor logits = engine_.model().mtp_logits(ctx, last);
  const size_t V = logits.shape().back();
  for (size_t i = 0; i < guessing_.size(); ++i) guessing_[i]->on_mtp_logits({logits.data<float>() + i * V, V});
}

}  // namespace fathom
