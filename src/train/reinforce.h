// Stage grpo: problems from a task, answers from the engine, rewards from the task's verifier or a program, policy
// gradients on the forward that drew them. Called by run_training. One thread.
#pragma once
#include "train/trainer.h"

namespace fathom {

/// Runs a recipe of stage grpo to its end. Every step: draws grpo.prompts groups of grpo.group answers, grades them,
/// checks that the trainer's log-probabilities are the sampler's bit for bit (the run ends with an Error if not), and
/// updates the weights grpo.updates times. A step depends on recipe and state alone, so resumed runs have the same
/// bits. Evaluation draws one answer to each of 128 held-out problems at the rollouts' temperature, by the average of
/// the weights where the recipe keeps one. With lora.rank the adapter is the policy, and the frozen model the KL's
/// reference.
TrainResult run_reinforcement(const Recipe& recipe, const TrainOptions& options, TrainListener& listener);

}  // namespace fathom
