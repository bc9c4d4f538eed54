// Which samples a training step takes. A batch depends on the seed and the step alone, so a run that resumes at a step
// sees the same data as one that was never stopped. Called by the training loops. One thread at a time per object.
#pragma once
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "train/sample.h"
#include "train/token_cache.h"

namespace fathom {

class SequenceSampler {
 public:
  virtual ~SequenceSampler() = default;
  /// The samples of a step, counted from 0; the same on every machine, whatever was asked before.
  virtual std::vector<Sample> batch(uint64_t step) = 0;
  /// The steps that show every sample `epochs` times, rounded up; 0 where there are no epochs (windows).
  virtual uint64_t steps(uint64_t epochs) = 0;
};

/// Pretraining: `parts` behind each other are one long stream, and every step takes `count` windows of context + 1
/// tokens (context predictions) that begin at uniformly random places of it. Window i of a step comes from Philox of
/// (seed, step, i). A window does not know where documents end.
///   ids  tokens, which outlive the sampler;  parts  ranges of them
/// Throws Error if context or count is 0, or the stream is shorter than a window.
std::unique_ptr<SequenceSampler> make_window_sampler(std::span<const TokenId> ids, std::vector<TokenRange> parts,
                                                     size_t context, size_t count, uint64_t seed);

/// Documents and conversations: in every epoch each sample comes once, in an order that Philox draws from (seed,
/// epoch). In that order whole samples are packed into rows of at most `row_tokens`, each into the fullest row that
/// still has room (best fit); samples of a row stay separate sequences, a row is only a share of the token budget. A
/// step takes the next `rows` rows of the endless sequence of epochs; its samples come row by row.
/// row_tokens 0: nothing is packed, a row is one sample.
/// Throws Error if there are no samples, one is empty, or longer than a row.
std::unique_ptr<SequenceSampler> make_epoch_sampler(std::vector<Sample> samples, size_t row_tokens, size_t rows,
                                                    uint64_t seed);

}  // namespace fathom
