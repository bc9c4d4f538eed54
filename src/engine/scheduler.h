// Continuous batching: every step takes the next token of all sequences that answer, beside them a part of the prompts
// that are still to be read, at most a chunk in all, and behind them guesses of the next tokens; runs one forward, and
// hands each sequence that is complete the logits of its last token, and of its guesses for as long as they were right.
// Sequences that begin alike share the pages of what they have in common; those with an adapter of their own run beside
// those without, and share the weights. Where the pool has no page left, those come
// first that have the higher priority or were here earlier; the last gives its pages back, waits, and is computed
// again. A sequence's bits depend on nothing of this (law 2). One thread, but for what says otherwise.
#pragma once
#include <functional>
#include <span>
#include <vector>

#include "engine/engine.h"
#include "engine/session.h"

namespace fathom {

/// A sequence that wants tokens: the scheduler runs its session's pending tokens, then calls on_logits, which appends
/// to the session or becomes done.
class Running {
 public:
  virtual ~Running() = default;
  virtual Session& session() = 0;
  virtual bool done() const = 0;
  /// logits [V] after the session's last token.
  virtual void on_logits(std::span<const float> logits) = 0;
  /// Guesses for the tokens after the session's last, the chances descending; valid until the next on_logits. A guess
  /// that is verified and right saves a step, and costs nothing but time where it is wrong.
  virtual std::span<const Draft> drafts() { return {}; }
  /// After the on_logits of a step: so many guesses were verified, so many of them right.
  virtual void on_verified(size_t /*drafted*/, size_t /*accepted*/) {}
  /// Whether the MTP module is to guess; what it then makes of the last token comes to on_mtp_logits after each step
  /// that drew tokens: logits [V] of the token after that. Once refused, a session never gets it again, for the
  /// module's cache has a hole.
  virtual bool wants_mtp() const { return false; }
  virtual void on_mtp_logits(std::span<const float> /*logits*/) {}
  /// So many of the pending tokens were found computed already, in pages that others left.
  virtual void on_shared(size_t /*positions*/) {}
  /// The forward that begins now computes some of its pending tokens.
  virtual void on_step() {}
  /// Whether it reads only, and wants hidden states instead of logits. It then computes all of its tokens itself, for
  /// pages that others left hold none.
  virtual bool wants_hidden() const { return false; }
  /// hidden [n, D] of its tokens from `position` on, after the final norm; after a preemption they come again, the same
  /// bits. Becomes done with the last.
  virtual void on_hidden(std::span<const float> /*hidden*/, size_t /*position*/) {}
  /// Whether it wants the logits of all tokens but the last, too. It then computes all of its tokens itself.
  virtual bool wants_prompt_logits() const { return false; }
  /// logits [V] after the token at `position`; after a preemption they come again, the same bits.
  virtual void on_prompt_logits(std::span<const float> /*logits*/, size_t /*position*/) {}
  /// A part of the pending tokens was computed, more are left.
  virtual void on_prefill() {}
  /// The pool has no page for the next tokens, even when nobody else holds any. The sequence becomes done.
  virtual void on_pool_full() = 0;
  /// Higher ones first. Does not change.
  virtual int priority() const { return 0; }
  /// Nobody wants it any more: asked before every layer, for a forward that is mostly for such sequences stops.
  virtual bool cancelled() const { return false; }
  /// It was cancelled: becomes done. Until the step returns, the forward may still compute some of its tokens.
  virtual void on_cancelled() {}
};

struct SchedulerOptions {
  /// Whether texts that begin alike share pages, with others of this engine that were here before too.
  bool share_prefixes = false;
  /// Rows of prompts in a step while several sequences are here: with fewer a short one waits less for a long one's
  /// step, and with very few all are read later (the 1.5B: `fathom bench --prompt 128,512`).
  size_t shared_rows = SIZE_MAX;
};

/// What the scheduler has done so far.
struct SchedulerStats {
  size_t preemptions = 0, stopped_forwards = 0, forwards = 0;
  uint64_t rows = 0, shared_positions = 0;
};

class Scheduler {
 public:
  explicit Scheduler(Engine& engine, SchedulerOptions options = {}) : engine_(engine), options_(options) {}
  /// The sequence must live until it is done and the step that made it so has returned.
  void add(Running& sequence);
  bool idle() const { return entries_.empty(); }
  /// Forgets all sequences, after a step that threw.
  void clear() { entries_.clear(); }
  /// Sequences that are there, and those of them that wait for pages.
  size_t size() const { return entries_.size(); }
  size_t waiting() const;
  const SchedulerStats& stats() const { return stats_; }
  /// One forward; sequences that are done leave. False: nothing was to do. `on_cancelled` is called, in the middle of
  /// it too, whenever some became done for being cancelled, so that nobody need wait for the end of a step to hear of
  /// it.
  bool step(const std::function<void()>& on_cancelled = {});

 private:
  /// A sequence; they stand in the order of their ranks.
  struct Entry {
    Running* running;
    uint64_t arrival;
    bool admitted = false;  // has pages, or the promise of them
    bool prefill() const { return running->session().pending() > 1; }
  };
  // What a step computes of a sequence: pending tokens, then drafts.
  struct Part {
    Running* running;
    size_t pending, position, row = 0;  // position: of its first row
    std::span<const Draft> guesses = {};
    size_t drafted = 0;
    size_t rows() const { return pending + drafted; }
    bool complete() const { return running->session().pending() == pending; }
  };

  static constexpr size_t kMostDrafts = 32;     // of all sequences in a step: each takes a row of logits
  static constexpr size_t kLeastPrompt = 3;     // rows of prompts beside others' tokens, whatever they cost
  static constexpr double kMostSlowdown = 1.6;  // of a step by prompts: the table of costs is of one machine

  bool remove_done();
  void settle_cancelled(const std::function<void()>& on_cancelled);
  bool run_forward(const std::function<void()>& on_cancelled);
  void admit();
  size_t pages_missing(Entry& entry) const;
  void take_tokens();
  void take_prompts();
  bool take(Entry& entry, size_t n);
  void adopt(Running& running);
  bool waits_for_same_page(Session& session, size_t n);
  bool make_room(Entry& entry, size_t n);
  void preempt(Entry& entry);
  size_t prompt_rows() const;
  void group_by_adapter();
  void take_drafts();
  void lay_rows();
  void lay_adapter(Running& running, size_t row, size_t rows);
  bool mostly_done() const;
  static bool draws(const Part& part);
  void hand_out(Context& ctx, const Tensor& hidden);
  void hand_out_prompt(const Tensor& hidden, const Part& part);
  void verify(Part& part, std::span<const float> logits);
  void run_mtp(Context& ctx, const Tensor& hidden);

  Engine& engine_;
  SchedulerOptions options_;
  SchedulerStats stats_;
  std::vector<Entry> entries_;
  uint64_t arrivals_ = 0;
  std::vector<Part> parts_;
  std::vector<PageKey> computing_;  // pages that this step's prompts will have filled
  std::vector<std::pair<double, Part*>> candidates_;
  std::vector<double> chances_;
  std::vector<SequenceRows> rows_;
  std::vector<AdapterRows> adapter_rows_;
  std::vector<int32_t> ids_, positions_, wanted_rows_, last_rows_;
  std::vector<Running*> guessing_;
  std::vector<Entry*> prompts_;
};

}  // namespace fathom
