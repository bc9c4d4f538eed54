// What a run must begin and go on with for its bits to be the same. Called at a run's beginning. No state: thread-safe.
#pragma once
#include "train/trainer.h"
#include "train/trainer_state.h"

namespace fathom {

/// Hashes of what decides the bits of a run: the recipe but for what changes none of them, the data, the start model
/// where it stays as it is (a frozen one, or the one that stage reject draws from), and the teacher of stage distill.
/// Throws Error for a file that cannot be read.
RunIdentity run_identity(const Recipe& recipe, const TrainOptions& options);

}  // namespace fathom
