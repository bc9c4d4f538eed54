// What one step of GRPO learns from: problems, a group of answers to each, rewards and advantages. Drawn here, learned
// from in grpo.h. Called by the reinforcement loop, on the engine's compute thread.
#pragma once
#include <cstdint>
#include <vector>

#include "train/policy_loss.h"
#include "train/rollout.h"

namespace fathom {

/// Where problems come from, and what answers are worth. Called on the compute thread.
class Problems {
 public:
  virtual ~Problems() = default;
  /// The prompt of number `index` of an endless list.
  virtual std::vector<TokenId> prompt(uint64_t index) = 0;
  /// What an answer to that problem is worth: finite.
  virtual double reward(uint64_t index, const Rollout& answer) = 0;
};

/// What happens to answers that max_tokens cut off.
enum class Overlong {
  kNone,  ///< they are graded as they are
  kMask,  ///< no loss of theirs counts; they still count in their group's mean
  kSoft,  ///< overlong_penalty, over the last overlong_cache tokens before max_tokens, is added to every reward
};

struct GrpoOptions {
  size_t prompts = 8;  ///< groups of a step
  size_t group = 16;   ///< answers to each, at least 2
  float temperature = 1;
  size_t max_tokens = 256;
  std::vector<TokenId> stop_ids;
  uint64_t seed = 0;
  Overlong overlong = Overlong::kNone;
  size_t overlong_cache = 0;
  bool dynamic_sampling = false;  ///< groups whose rewards are all equal are replaced by others,
  size_t most_rounds = 10;        ///< for so many rounds of drawing at most
  PolicyObjective objective;
  size_t updates = 1;        ///< of the weights per set of answers
  size_t micro_batch = 0;    ///< answers computed at once; 0: all of an update
  double balance_alpha = 0;  ///< weight of the sequence-wise balance loss
  bool recompute = false;    ///< activation checkpointing
  /// Updates behind the first compute with the experts that each answer was drawn with (keep routing, arXiv:2512.02556,
  /// 3.1): in the first one the routers choose those by themselves.
  bool keep_routing = false;
  /// Hears of answers drawn, and of answers computed with a tape until the weights change: stopped by it
  /// (base/work.h), a step has changed nothing.
  WorkProgress progress;
};

/// What drawing reports: over all answers drawn, those of dropped groups included. 0 where there is nothing to count.
struct GrpoDrawn {
  uint64_t problems = 0;         ///< taken from the list
  size_t rounds = 0;             ///< of drawing
  size_t groups = 0, equal = 0;  ///< drawn; of them without differences, so without gradient
  size_t answers = 0, truncated = 0;
  uint64_t prompt_tokens = 0, answer_tokens = 0;
  double reward = 0;   ///< mean, as graded
  double penalty = 0;  ///< mean of what kSoft adds
  double length = 0;   ///< mean, in tokens
  /// Mean lengths of the answers above and below their group's mean reward. Length that grows only below is the bias
  /// that token-level means avoid (spec/training.md 9).
  double length_above = 0, length_below = 0;
};

/// Group after group, the answers of each in order.
struct GrpoBatch {
  std::vector<Rollout> answers;
  std::vector<double> rewards;    ///< of each answer, the penalty included
  std::vector<float> advantages;  ///< of each answer
  std::vector<uint8_t> kept;      ///< of each answer; 0: its loss does not count
  GrpoDrawn drawn;
};

/// Throws Error naming the option that is out of its range.
void require_valid(const GrpoOptions& options);

/// Draws the answers of step `step` to problems first_problem, first_problem + 1, ...: options.prompts groups with
/// advantages by the objective's deviation. With dynamic sampling rounds go on with further problems until so many
/// groups have differences; after most_rounds the batch has fewer, perhaps none. The next step's first problem is
/// first_problem + drawn.problems. Throws Error for a reward that is not finite, naming problem and sample, and as
/// roll_out does.
GrpoBatch draw_grpo_batch(Engine& engine, Problems& problems, const GrpoOptions& options, uint64_t step,
                          uint64_t first_problem);

}  // namespace fathom
