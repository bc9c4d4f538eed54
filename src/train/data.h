// The data of a run: a sampler of training batches and the samples that it is judged by. Called by the training loop.
#pragma once
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "base/work.h"
#include "train/recipe.h"
#include "train/sampler.h"
#include "train/start_model.h"
#include "train/token_cache.h"

namespace fathom {

struct TrainingData {
  std::unique_ptr<TokenCache> train_cache,
      validation_cache;  ///< what the sampler reads; null where it owns its samples
  std::unique_ptr<SequenceSampler> train;
  std::vector<Sample> validation;  ///< empty: none was asked for
  std::vector<std::string> notes;  ///< what the person should see
};

/// Stage pretrain: windows of `context` predictions over the texts' tokens; validation windows lie side by side, all of
/// them or, with train.eval_batches, that many batches spread evenly. Stage sft: conversations
/// (train/chat_data.h), or a task's own answers, judged on 256 held-out problems. Stage distill: conversations where
/// the first file of data.train is JSONL of "messages" or "prompt", else texts.
/// `cache`: where encoded texts are kept. Throws Error where a file is wrong or there is too little of it.
TrainingData open_data(const Recipe& recipe, const StartModel& model, size_t context,
                       const std::filesystem::path& cache, const WorkProgress& progress);

}  // namespace fathom
