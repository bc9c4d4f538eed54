// Stage reject: answers to the problems of a task or of files, drawn by the engine, graded, selected and written as
// training data for stage sft. Nothing is trained. Called by run_training. One thread.
#pragma once
#include "train/trainer.h"

namespace fathom {

/// Runs a recipe of stage reject to its end, train.batch prompts at a time, into the run folder:
///   answers.jsonl  the answers that Selection (train/selection.h) keeps, prompt after prompt, samples in order:
///     {"messages": [{user}, {assistant, reasoning_content?}], "reward"} where the model has a chat template, else
///     {"prompt", "completion", "reward"}
///   metrics.jsonl  a line for each batch; its step counts prompts, its answers_* count all so far
///   summary.json   {format: "fathom.rejection", version, prompts, answers, right, kept, ..., seconds, joules}
/// The file depends on recipe, data and model alone (law 2): not on train.batch and threads, and not on where the run
/// was stopped or killed and gone on with. The model may be any file that runs; it computes in train.profile. Throws
/// Error for wrong recipes, models and data, a prompt that does not fit with its answer, and as the reward program
/// does; ResourceError where memory or disk do not suffice; where a run is gone on with, Error naming what has changed.
TrainResult run_rejection(const Recipe& recipe, const TrainOptions& options, TrainListener& listener);

}  // namespace fathom
