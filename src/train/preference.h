// Stage dpo: pairs of answers, one preferred, on the same forward. Called by run_training. One thread.
#pragma once
#include "train/trainer.h"

namespace fathom {

/// Runs a recipe of stage dpo to its end: train.batch pairs a step in epochs' order, loss -log sigmoid(beta ((c - ref
/// c) - (r - ref r))) over the sums of the answers' log-probabilities (train/objectives.h), the reference being the
/// start model: beside an adapter the frozen model itself, else a copy of the first weights. Source: arXiv:2305.18290.
TrainResult run_preferences(const Recipe& recipe, const TrainOptions& options, TrainListener& listener);

}  // namespace fathom
