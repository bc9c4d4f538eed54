#include "train/data.h"

#include <algorithm>
#include <fstream>

#include "base/json.h"
#include "tasks/task.h"
#include "train/chat_data.h"

namespace fathom {
namespace {

namespace fs = std::filesystem;

std::vector<fs::path> paths(const std::vector<std::string>& names) { return {names.begin(), names.end()}; }

/// Every window of context + 1 tokens in the ranges, side by side, or `most` of them evenly spread.
std::vector<Sample> windows(std::span<const TokenId> ids, const std::vector<TokenRange>& ranges, size_t context,
                            size_t most) {
  std::vector<uint64_t> begins;
  for (const TokenRange& range : ranges)
    for (uint64_t at = range.begin; at + context + 1 <= range.end; at += context) begins.push_back(at);
  const size_t n = most == 0 ? begins.size() : std::min(most, begins.size());
  std::vector<Sample> out;
  for (size_t i = 0; i < n; ++i) {
    const std::span<const TokenId> window = ids.subspan(begins[i * begins.size() / n], context + 1);
    out.push_back({{window.begin(), window.end()}, std::vector<uint8_t>(context + 1, 1)});
  }
  return out;
}

void note_cache(const TokenCache& cache, std::vector<std::string>& notes) {
  if (!cache.notice().empty()) notes.push_back(cache.notice());
  for (const TokenSource& source : cache.sources())
    if (source.missing_bytes != 0)
      notes.push_back(cat(source.name, ": ", source.missing_bytes, " bytes have no token and are left out"));
}

TrainingData pretraining(const Recipe& recipe, const StartModel& model, size_t context, const fs::path& cache,
                         const WorkProgress& progress) {
  TrainingData out;
  const auto open = [&](const std::vector<std::string>& files) {
    auto opened = std::make_unique<TokenCache>(
        TokenCache::open(paths(files), *model.tokenizer, model.tokenizer_identity, cache, progress));
    note_cache(*opened, out.notes);
    return opened;
  };
  out.train_cache = open(recipe.data.train);
  const TokenSplit split = out.train_cache->split(recipe.data.validation_fraction);
  const auto batch = static_cast<size_t>(recipe.train.batch);
  out.train =
      make_window_sampler(out.train_cache->ids(), split.train, context, batch, static_cast<uint64_t>(recipe.seed));
  const size_t most = static_cast<size_t>(recipe.train.eval_batches) * batch;
  if (!recipe.data.validation.empty()) {
    out.validation_cache = open(recipe.data.validation);
    const std::span<const TokenId> ids = out.validation_cache->ids();
    out.validation = windows(ids, {{0, ids.size()}}, context, most);
  } else if (recipe.data.validation_fraction > 0) {
    out.validation = windows(out.train_cache->ids(), split.validation, context, most);
  }
  return out;
}

TrainingData conversations(const Recipe& recipe, const StartModel& model, size_t context,
                           const WorkProgress& progress) {
  TrainingData out;
  const auto read = [&](const std::vector<std::string>& files) {
    ChatData data =
        read_chat_data(paths(files), *model.tokenizer, model.chat_template.get(), {.context = context}, progress);
    if (data.without_end != 0)
      out.notes.push_back(cat(data.without_end, " of ", data.turns, " turns have no end token in this template"));
    if (data.literal_tokens != 0)
      out.notes.push_back(cat(data.literal_tokens, " texts spell a control token, which stays text"));
    if (data.without_prefill != 0)
      out.notes.push_back(cat(data.without_prefill, " turns have no thinking where the template begins one"));
    return std::move(data.samples);
  };
  std::vector<Sample> samples = read(recipe.data.train);
  if (!recipe.data.validation.empty()) {
    out.validation = read(recipe.data.validation);
  } else if (recipe.data.validation_fraction > 0) {
    const auto kept = static_cast<size_t>(static_cast<double>(samples.size()) * (1 - recipe.data.validation_fraction));
    if (kept == 0)
      throw Error(cat("data.validation_fraction: expected some of ", samples.size(), " samples left to train"));
    out.validation.assign(samples.begin() + static_cast<std::ptrdiff_t>(kept), samples.end());
    samples.resize(kept);
  }
  if (const size_t most = static_cast<size_t>(recipe.train.eval_batches * recipe.train.batch);
      most != 0 && most < out.validation.size()) {
    for (size_t i = 0; i < most; ++i) out.validation[i] = out.validation[i * out.validation.size() / most];
    out.validation.resize(most);
  }
  if (recipe.data.loss == "all")
    for (Sample& s : samples) std::fill(s.counts.begin() + 1, s.counts.end(), 1);
  out.train = make_epoch_sampler(std::move(samples), recipe.data.packing ? context : 0,
                                 static_cast<size_t>(recipe.train.batch), static_cast<uint64_t>(recipe.seed));
  return out;
}

/// Whether it is JSONL whose first line is a conversation, or a prompt with its completion.
bool holds_chats(const fs::path& path) {
  if (path.extension() != ".jsonl") return false;
  std::ifstream file(path);
  std::string line;
  while (std::getline(file, line) && line.find_first_not_of(" \t\r") == std::string::npos) continue;
  const json::value value = parse_json(line, path.string());
  return value.is_object() && (value.as_object().contains("messages") || value.as_object().contains("prompt"));
}

/// A task's own answers; held-out problems for validation.
TrainingData task_answers(const Recipe& recipe, const StartModel& model, size_t context) {
  TrainingData out;
  const std::unique_ptr<const Task> task = make_task(recipe.data.task);
  const auto make = [&](Split split, size_t n) {
    std::vector<Sample> samples;
    for (size_t i = 0; i < n; ++i) {
      const Example e = task->example(split, static_cast<uint64_t>(recipe.seed), i);
      samples.push_back(completion_sample(*model.tokenizer, e.prompt, e.answer));
      if (samples.back().ids.size() > context)
        throw Error(cat("task ", task->name(), ", problem ", e.id, ": expected at most ", context,
                        " tokens (data.context), found ", samples.back().ids.size()));
    }
    return samples;
  };
  out.validation = make(Split::kHeldOut, 256);
  out.train = make_epoch_sampler(make(Split::kTrain, static_cast<size_t>(recipe.data.examples)),
                                 recipe.data.packing ? context : 0, static_cast<size_t>(recipe.train.batch),
                                 static_cast<uint64_t>(recipe.seed));
  return out;
}

}  // namespace

TrainingData open_data(const Recipe& recipe, const StartModel& model, size_t context, const fs::path& cache,
                       const WorkProgress& progress) {
  if (!model.tokenizer)
    throw Error("training: expected a tokenizer (model.tokenizer, or one with model.start), found none");
  if (!recipe.data.task.empty()) return task_answers(recipe, model, context);
  if (recipe.data.train.empty()) throw Error("data.train: expected at least one file, found none");
  const bool texts = recipe.stage == "pretrain" || (recipe.stage == "distill" && !holds_chats(recipe.data.train[0]));
  return texts ? pretraining(recipe, model, context, cache, progress) : conversations(recipe, model, context, progress);
}

}  // namespace fathom
