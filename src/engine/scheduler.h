// Continuous batching: every step takes the pending tokens of all running sequences, at most a chunk of them in all,
// and behind them guesses of the next ones, runs one forward, and hands each sequence that is complete the logits of
// its last token, and of its guesses for as long as they were right. A sequence's bits do not depend on the company,
// and not on the guesses (law 2). One thread.
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
  /// A part of the pending tokens was computed, more are left.
  virtual void on_prefill() {}
  /// The pool had no page for the next tokens.
  virtual void on_pool_full() = 0;
};

class Scheduler {
 public:
  explicit Scheduler(Engine& engine) : engine_(engine) {}
  /// The sequence must live until it is done and the step that made it so has returned.
  void add(Running& sequence);
  bool idle() const { return running_.empty(); }
  /// One forward; sequences that are done leave. False: nothing was to do.
  bool step();

 private:
  // What a step computes of a sequence: pending tokens, then drafts.
  struct Part {
    Running* running;
    size_t pending, position, row = 0;  // position: of its first row
    std::span<const Draft> guesses = {};
    size_t drafted = 0;
    size_t rows() const { return pending + drafted; }
    bool complete() const { return running->session().pending() == pending; }
  };

  static constexpr size_t kMostDrafts = 32;  // of all sequences in a step: each takes a row of logits

  bool run_forward();
  Running* take_pending();
  void take_drafts();
  void lay_rows();
  void hand_out(Context& ctx, const Tensor& hidden);
  void verify(Part& part, std::span<const float> logits);
  void run_mtp(Context& ctx, const Tensor& hidden);

  Engine& engine_;
  std::vector<Running*> running_;
  std::vector<Part> parts_;
  std::vector<std::pair<double, Part*>> candidates_;
  std::vector<double> chances_;
  std::vector<SequenceRows> rows_;
  std::vector<int32_t> ids_, positions_, wanted_rows_, last_rows_;
  std::vector<Running*> guessing_;
};

}  // namespace fathom
