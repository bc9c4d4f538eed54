// What a step of GRPO does with its answers: checks that sampler and trainer agree, then policy gradients, update after
// update. The caller owns masters and optimizer and makes the updates. Called by the reinforcement loop, on the
// engine's compute thread.
#pragma once
#include <cstdint>
#include <vector>

#include "autograd/tape.h"
#include "base/function_ref.h"
#include "ops/context.h"
#include "train/grpo_batch.h"

namespace fathom {

/// What was computed beside gradients.
struct GrpoSums {
  PolicySums policy;  ///< loss, ratios, clipped shares, KL, entropy
  double balance_loss = 0;
  std::vector<ExpertLoad> loads;
};

/// What learning reports: sums over all its updates.
struct GrpoLearned : GrpoSums {
  size_t updates = 0;            ///< that changed the weights
  uint64_t verified_tokens = 0;  ///< whose log-probabilities were equal in sampler and trainer, bit for bit
};

/// Takes one update's gradients, of the engine's model or of the adapter beside it, to the masters: clip, optimizer,
/// and whatever else the run does; and publishes the next snapshot (Engine::publish). `sums` are the update's own.
/// False: nothing was changed (a spike was skipped).
using PolicyUpdate = FunctionRef<bool(Gradients& gradients, const GrpoSums& sums)>;

/// Recomputes the answers' log-probabilities by the training forward, at `temperature`, with the engine's model,
/// adapter and numerics, micro_batch answers at once (0: all). Returns the tokens compared. Throws Error that names the
/// first token whose number is not the stored one bit for bit, with both: sampler and trainer disagree (law 1).
uint64_t verify_rollouts(Engine& engine, std::span<const Rollout> answers, float temperature, size_t micro_batch);

/// Learns from a batch that was drawn with the engine's present model: all answers are verified (verify_rollouts)
/// before the first update; then options.updates times, for an equal share of the answers in order, policy_loss over
/// the share (its counts are the update's), gradients, `update`. Where the engine computes with an adapter, that is
/// what learns. micro_batch changes no bit, but for the local mean (LossMean::kLocalTokens). `reference`: the frozen
/// policy of the KL, without an adapter, null exactly where beta is 0. An empty batch changes nothing.
GrpoLearned learn_grpo(Engine& engine, const GrpoBatch& batch, const GrpoOptions& options, const Model* reference,
                       PolicyUpdate update);

}  // namespace fathom
