#include "engine/scheduler.h"

#include <algorithm>

namespace fathom {

void Scheduler::add(Running& sequence) {
  const auto same = [&](const Entry& e) { return e.running == &sequence; };
  check(std::ranges::none_of(entries_, same), "a sequence is added once");
  const auto before = [&](const Entry& e) { return e.running->priority() >= sequence.priority(); };
  entries_.insert(std::ranges::find_if_not(entries_, before), {&sequence, arrivals_++});
}

size_t Scheduler::waiting() const {
  return static_cast<size_t>(std::ranges::count_if(entries_, [](const Entry& e) { return !e.admitted; }));
}

bool Scheduler::step(const std::function<void()>& on_cancelled) {
  settle_cancelled(on_cancelled);
  if (remove_done()) return true;  // their pages may go back before anybody asks for one
  const bool worked = run_forward(on_cancelled);
  remove_done();
  return worked;
}

void Scheduler::settle_cancelled(const std::function<void()>& on_cancelled) {
  bool any = false;
  for (const Entry& e : entries_) {
    if (e.running->done() || !e.running->cancelled()) continue;
    e.running->on_cancelled();
    any = true;
  }
  if (any && on_cancelled) on_cancelled();
}

bool Scheduler::remove_done() {
  return std::erase_if(entries_, [&](const Entry& e) {
           if (!e.running->done()) return false;
           if (options_.share_prefixes) e.running->session().keep(engine_.prefixes(), /*tail=*/true);
           return true;
         }) != 0;
}

/// Pages that the sequence needs for its tokens beside those it holds.
size_t Scheduler::pages_missing(Entry& entry) const {
  Session& s = entry.running->session();
  const size_t need = (s.tokens().size() + kPagePositions - 1) / kPagePositions;
  return need - std::min(need, s.kv().held_pages());
}

/// Lets in who has room for its whole text, in the order of ranks: one that began with less would only lose it again.
/// Those of lower priority make room.
void Scheduler::admit() {
  if (std::ranges::all_of(entries_, &Entry::admitted)) return;
  size_t promised = 0;  // to those that rank higher
  const auto room_left = [&] {
    const size_t room = engine_.pool().free_pages() + engine_.prefixes().evictable();
    return room - std::min(room, promised);
  };
  size_t room = room_left();
  for (Entry& e : entries_) {
    const size_t missing = pages_missing(e);
    for (auto last = entries_.rbegin(); !e.admitted && missing > room; ++last) {
      if (last->running->priority() >= e.running->priority()) return;
      if (last->running->session().kv().held_pages() == 0) continue;
      preempt(*last);
      room = room_left();
    }
    e.admitted = true;
    promised += missing;
    room -= std::min(room, missing);
  }
}

void Scheduler::preempt(Entry& entry) {
  std::erase_if(parts_, [&](const Part& p) { return p.running == entry.running; });
  entry.running->session().release();
  entry.admitted = false;
  ++stats_.preemptions;
}

/// Pages for n more positions: free ones, else of texts that nobody reads now, else of whoever ranks last. False: the
/// sequence itself ranks last of those that hold any.
bool Scheduler::make_room(Entry& entry, size_t n) {
  KvSequence& kv = entry.running->session().kv();
  while (!kv.reserve(n)) {
    if (engine_.prefixes().evict(1) != 0) continue;
    const auto holds = [](const Entry& e) { return e.running->session().kv().held_pages() != 0; };
    const auto last = std::find_if(entries_.rbegin(), entries_.rend(), holds);
    if (last == entries_.rend() || &*last <= &entry) return false;
    preempt(*last);
  }
  return true;
}

/// n of the pending tokens become a part of the step. False: no room.
bool Scheduler::take(Entry& entry, size_t n) {
  if (!make_room(entry, n)) return false;
  parts_.push_back({entry.running, n, entry.running->session().cached()});
  return true;
}

/// The next token of all that answer.
void Scheduler::take_tokens() {
  for (Entry& e : entries_) {
    if (parts_.size() == engine_.prefill_chunk()) break;
    if (!e.admitted || e.running->session().pending() == 0 || e.prefill()) continue;
    if (!take(e, 1)) preempt(e);
  }
}

/// Rows of prompts beside the tokens of a step: so few that it takes less than twice as long as without them.
size_t Scheduler::prompt_rows() const {
  const size_t tokens = parts_.size();
  size_t room = engine_.prefill_chunk() - tokens;
  if (entries_.size() > 1) room = std::min(room, options_.shared_rows);
  if (tokens == 0) return room;
  const PassCost& cost = engine_.pass_cost();
  const double most = kMostSlowdown * cost(tokens);
  size_t n = std::min(kLeastPrompt, room);
  while (n < room && cost(tokens + n + 1) <= most) ++n;
  return n;
}

void Scheduler::adopt(Running& running) {
  const size_t n = running.session().adopt(engine_.prefixes());
  stats_.shared_positions += n;
  if (n != 0) running.on_shared(n);
}

/// Somebody computes the very page in this step: waiting for it is cheaper.
bool Scheduler::waits_for_same_page(Session& session, size_t n) {
  const size_t whole_pages = (session.tokens().size() - 1) / kPagePositions, first = session.cached() / kPagePositions;
  if (session.cached() % kPagePositions == 0 && first < whole_pages &&
      std::ranges::find(computing_, session.page_key(engine_.prefixes(), first)) != computing_.end())
    return true;
  for (size_t page = first; page < whole_pages && page * kPagePositions < session.cached() + n; ++page)
    computing_.push_back(session.page_key(engine_.prefixes(), page));
  return false;
}

/// Prompts, and what was preempted: half of the rows for the one that ranks first, the other half for the shortest, so
/// that a short one need not wait for a long one, and a long one not for ever.
void Scheduler::take_prompts() {
  prompts_.clear(), computing_.clear();
  for (Entry& e : entries_)
    if (e.admitted && e.prefill()) prompts_.push_back(&e);
  if (prompts_.empty()) return;
  size_t room = prompt_rows();
  const auto give = [&](Entry& e, size_t most) {
    Session& s = e.running->session();
    const bool shares = options_.share_prefixes && !e.running->wants_hidden() && !e.running->wants_prompt_logits();
    if (shares) adopt(*e.running);
    const size_t n = std::min({most, room, s.pending()});
    if (n == 0 || (shares && waits_for_same_page(s, n))) return;
    if (take(e, n))
      room -= n;
    else
      preempt(e);
  };
  give(*prompts_.front(), prompts_.size() == 1 ? room : (room + 1) / 2);
  std::sort(prompts_.begin() + 1, prompts_.end(), [](const Entry* a, const Entry* b) {
    const size_t left = a->running->session().pending(), right = b->running->session().pending();
    const int first = a->running->priority(), second = b->running->priority();
    return first != second ? first > second : left != right ? left < right : a->arrival < b->arrival;
  });
  for (size_t i = 1; i < prompts_.size() && room != 0; ++i)
    if (prompts_[i]->admitted) give(*prompts_[i], room);
}

/// The rows of one adapter stand together, so that its matrices are read once.
void Scheduler::group_by_adapter() {
  const auto adapter = [](const Part& p) { return p.running->session().adapter(); };
  const auto before = [&](const Part& a, const Part& b) { return std::less<>()(adapter(a), adapter(b)); };
  if (!std::ranges::is_sorted(parts_, before)) std::ranges::stable_sort(parts_, before);
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

void Scheduler::lay_adapter(Running& running, size_t row, size_t rows) {
  const Adapter* adapter = running.session().adapter();
  if (!adapter) return;
  if (!adapter_rows_.empty() && adapter_rows_.back().adapter == adapter)
    adapter_rows_.back().rows += rows;
  else
    adapter_rows_.push_back({row, rows, adapter});
}

void Scheduler::lay_rows() {
  rows_.clear(), adapter_rows_.clear(), ids_.clear(), positions_.clear();
  for (Part& p : parts_) {
    Session& s = p.running->session();
    p.row = ids_.size();
    p.running->on_step();
    rows_.push_back({p.row, p.rows(), p.position, s.kv().pages()});
    lay_adapter(*p.running, p.row, p.rows());
    for (size_t i = 0; i < p.rows(); ++i) {
      ids_.push_back(i < p.pending ? s.tokens()[p.position + i] : p.guesses[i - p.pending].id);
      positions_.push_back(static_cast<int32_t>(p.position + i));
    }
  }
}

bool Scheduler::mostly_done() const {
  size_t rows = 0, done = 0;
  for (const Part& p : parts_) {
    rows += p.rows();
    if (p.running->done()) done += p.rows();
  }
  return 2 * done > rows;
}

/// Whether the step gives the sequence a token.
bool Scheduler::draws(const Part& part) {
  return part.complete() && !part.running->wants_hidden() && !part.running->done();
}

bool Scheduler::run_forward(const std::function<void()>& on_cancelled) {
  parts_.clear();
  if (entries_.empty()) return false;
  admit();
  take_tokens();
  take_prompts();
  if (parts_.empty()) {
    // Nobody holds a page now that another could get: the first has the pool for itself, and it is too small.
    const auto hungry = [](const Entry& e) { return e.running->session().pending() != 0; };
    const auto first = std::ranges::find_if(entries_, hungry);
    if (first == entries_.end()) return false;
    first->running->on_pool_full();
    return true;
  }
  group_by_adapter();
  take_drafts();
  lay_rows();
  Context ctx = engine_.context();
  ctx.adapter_rows = adapter_rows_;
  const std::function<bool()> stop = [&] {
    settle_cancelled(on_cancelled);
    return mostly_done();
  };
  ctx.stop = &stop;
  const Tensor hidden =
      engine_.model().forward(ctx, {view_of_ids(ids_), {}, view_of_ids(positions_), rows_}, engine_.kv_layout());
  ctx.stop = nullptr;
  ++stats_.forwards, stats_.rows += ids_.size();
  if (!hidden.defined()) {  // as if it had never begun: nothing has advanced
    ++stats_.stopped_forwards;
    return true;
  }
  hand_out(ctx, hidden);
  if (engine_.model().has_mtp()) run_mtp(ctx, hidden);
  if (options_.share_prefixes)
    for (const Part& p : parts_) p.running->session().keep(engine_.prefixes(), /*tail=*/false);
  return true;
}

/// Logits of a prompt's rows but for the last of all, few at a time: a row is as long as the vocabulary.
void Scheduler::hand_out_prompt(const Tensor& hidden, const Part& part) {
  constexpr size_t kAtOnce = 16;
  Context ctx = engine_.context();
  ctx.arenas = nullptr;  // each is forgotten before the next
  const size_t rows = part.pending - (part.complete() ? 1 : 0), D = hidden.shape().back();
  for (size_t done = 0; done < rows; done += kAtOnce) {
    const size_t n = std::min(kAtOnce, rows - done);
    wanted_rows_.clear();
    for (size_t i = 0; i < n; ++i) wanted_rows_.push_back(static_cast<int32_t>(part.row + done + i));
    const Tensor wanted = ctx.make(DType::kF32, {n, D});
    ctx.backend.gather_rows(wanted, hidden, view_of_ids(wanted_rows_));
    const Tensor logits = engine_.model().logits(ctx, wanted);
    const size_t V = logits.shape().back();
    for (size_t i = 0; i < n; ++i)
      part.running->on_prompt_logits({logits.data<float>() + i * V, V}, part.position + done + i);
  }
}

/// Logits to the sequences that are complete; those of all rows that draw a token, in one product.
void Scheduler::hand_out(Context& ctx, const Tensor& hidden) {
  for (const Part& p : parts_)
    if (!p.running->done() && p.running->wants_prompt_logits()) hand_out_prompt(hidden, p);
  wanted_rows_.clear();
  for (const Part& p : parts_)
    for (size_t i = p.pending - 1; draws(p) && i < p.rows(); ++i)
      wanted_rows_.push_back(static_cast<int32_t>(p.row + i));
  Tensor logits;
  if (!wanted_rows_.empty()) {
    const Tensor wanted = ctx.make(DType::kF32, {wanted_rows_.size(), hidden.shape().back()});
    ctx.backend.gather_rows(wanted, hidden, view_of_ids(wanted_rows_));
    logits = engine_.model().logits(ctx, wanted);
  }
  size_t row = 0;
  const size_t D = hidden.shape().back();
  for (Part& p : parts_) {
    const bool complete = p.complete(), token = draws(p);
    p.running->session().kv().advance(p.pending);
    if (p.running->done()) continue;  // cancelled on the way
    if (p.running->wants_hidden()) p.running->on_hidden({hidden.data<float>() + p.row * D, p.pending * D}, p.position);
    if (!complete) {
      p.running->on_prefill();
      continue;
    }
    if (!token) continue;
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
  rows_.clear(), adapter_rows_.clear(), ids_.clear(), positions_.clear();
  wanted_rows_.clear(), last_rows_.clear(), guessing_.clear();
  for (const Part& p : parts_) {
    Session& s = p.running->session();
    if (p.running->done() || !p.running->wants_mtp() || s.mtp_cached() != p.position) continue;
    const size_t row = ids_.size(), n = s.cached() - p.position;
    rows_.push_back({row, n, p.position, s.kv().pages()});
    lay_adapter(*p.running, row, n);
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
  ctx.adapter_rows = adapter_rows_;
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
