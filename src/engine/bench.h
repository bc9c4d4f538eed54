// What `fathom bench` times: prompts and decoding through the scheduler, as an answer goes. The tokens are given, not
// drawn, so that every run does the same work; sampling is not in the times. On the compute thread.
#pragma once
#include <atomic>
#include <deque>
#include <vector>

#include "engine/engine.h"
#include "engine/session.h"

namespace fathom {

class BenchRun {
 public:
  /// `stop`: set by Ctrl-C; the work then ends with Interrupted after its next forward. Both outlive this.
  BenchRun(Engine& engine, const std::atomic<bool>& stop) : engine_(engine), stop_(stop) {}

  /// Seconds from an empty cache to the logits after `tokens` tokens.
  double prefill(size_t tokens);

  /// Seconds for `tokens` steps, each a token for each of `sequences` sequences, with `depth` cached positions each at
  /// the first. The caches are filled before, untimed, and kept for the next call with as many sequences and this
  /// depth.
  double decode(size_t sequences, size_t depth, size_t tokens);

  /// Seconds for `passes` forwards, each over `rows` tokens of one sequence after `depth` cached ones and with the
  /// logits of all: what the verification of rows - 1 guesses takes. Caches as for decode().
  double verify(size_t rows, size_t depth, size_t passes);

  /// Gives the caches back.
  void clear() { sessions_.clear(); }

 private:
  void fill(size_t sequences, size_t depth);
  double run_sessions(size_t tokens);
  std::vector<TokenId> tokens(size_t n, size_t sequence) const;

  Engine& engine_;
  const std::atomic<bool>& stop_;
  std::deque<Session> sessions_;
};

}  // namespace fathom
