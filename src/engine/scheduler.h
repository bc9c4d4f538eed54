// Continuous batching: every step takes the pending tokens of all running sequences, at most a chunk of them in all,
// runs one forward, and hands each sequence that is complete the logits of its last token. A sequence's bits do not
// depend on the company (law 2). One thread.
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
  bool run_forward();

  Engine& engine_;
  std::vector<Running*> running_;
  std::vector<SequenceRows> rows_;
  std::vector<Running*> scheduled_;
  std::vector<int32_t> ids_, positions_, last_rows_;
};

}  // namespace fathom
