// A text decoded again as if the model drew it, with speculation by matches and without: what guesses are worth on it,
// whatever the weights. What is guessed and what is verified is decided as for an answer; a wrong guess is one that
// the text does not go on with. For `fathom bench --transcript`. On the compute thread.
#pragma once
#include <atomic>
#include <span>
#include <vector>

#include "engine/engine.h"

namespace fathom {

struct Replayed {
  double seconds = 0, seconds_off = 0;  ///< with speculation, without it; for `tokens` each
  size_t tokens = 0;                    ///< all of the text but its first two, which start the decoding untimed
  SpeculationStats speculation;         ///< of all passes that gave a token
  std::vector<TokenId> text, text_off;  ///< what the two sequences hold in the end

  double tokens_per_pass() const;
};

/// Both go through the text by turns, some kPiece tokens each time, so that they meet the machine in the same state. No
/// token is drawn, so sampling is in neither time. `text`: at least three ids of the vocabulary. `stop` as for
/// BenchRun. Throws ResourceError where the cache does not hold the text twice.
constexpr size_t kReplayPiece = 64;
Replayed replay(Engine& engine, std::span<const TokenId> text, const std::atomic<bool>& stop);

}  // namespace fathom
