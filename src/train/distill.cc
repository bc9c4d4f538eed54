#include "train/distill.h"

#include <algorithm>
#include <cmath>

#include "engine/memory.h"
#include "train/plan.h"
#include "train/rollout.h"

namespace fathom {
namespace {

constexpr size_t kMostTogether = 64;  // answers drawn at once

DivergenceOptions options_of(const Recipe::Distill& d) {
  return {.divergence = d.loss == "reverse_kl" ? Divergence::kReverse : Divergence::kForward,
          .top_k = static_cast<size_t>(d.top_k),
          .temperature = static_cast<float>(d.temperature)};
}

/// What stands before the last run of tokens that count as targets.
std::vector<TokenId> prompt_of(const Sample& sample) {
  size_t begin = sample.ids.size();
  while (begin > 1 && !sample.counts[begin - 1]) --begin;
  while (begin > 1 && sample.counts[begin - 1]) --begin;
  return {sample.ids.begin(), sample.ids.begin() + static_cast<std::ptrdiff_t>(begin)};
}

}  // namespace

void compare(TrainingForward& student, TrainingForward& teacher, const DivergenceOptions& options, int64_t count,
             const Kernels& kernels, ThreadPool& pool, Gradients* gradients, DistillSums& sums) {
  const std::span<const int32_t> targets = student.targets();
  const double share = 1 / static_cast<double>(std::max<int64_t>(count, 1));
  const auto weight = static_cast<float>(options.temperature * options.temperature * share);
  std::vector<double> kl(targets.size()), cross_entropy(targets.size());
  student.for_logits(gradients, [&](size_t first, const Tensor& logits) {
    const Tensor wanted = teacher.logits(first, logits.rows());
    const size_t V = logits.shape().back();
    pool.run(logits.rows(), [&](size_t i) {
      const size_t at = first + i;
      const std::span<float> row = logits.span<float>().subspan(i * V, V);
      if (targets[at] < 0) return std::fill(row.begin(), row.end(), 0.0F);
      cross_entropy[at] = kernels.log_sum_exp(row.data(), V) - row[static_cast<size_t>(targets[at])];
      kl[at] = divergence(kernels, row, wanted.span<float>().subspan(i * V, V), options, weight);
    });
  });
  for (size_t i = 0; i < targets.size(); ++i) {
    sums.kl += kl[i] * share;
    sums.cross_entropy += cross_entropy[i] * share;
  }
}

Distillation::Distillation(Run& run, const std::filesystem::path& teacher)
    : run_(run),
      recipe_(run.recipe().distill),
      options_(options_of(recipe_)),
      teacher_(teacher, run.state().model()),
      pool_(run.threads()),
      end_ids_(end_ids(*run.state().model().tokenizer)) {}

std::string Distillation::what() const {
  return cat(recipe_.loss, " from ", teacher_.config().model_type, " (", name(teacher_.profile()), ")");
}

size_t Distillation::answers_of(size_t samples) const {
  return static_cast<size_t>(std::floor(recipe_.on_policy * static_cast<double>(samples) + 0.5));
}

uint64_t Distillation::memory_bytes(uint64_t rows) const {
  const uint64_t teacher = teacher_memory(teacher_.config(), teacher_.weight_bytes(), rows);
  if (recipe_.on_policy == 0) return teacher;
  const Masters& masters = run_.state().model().masters;
  const MemoryNeeds engine = memory_needs(masters.config(), 2 * 4 * masters.count(), CacheType::kF32, 512);
  const auto batch = static_cast<size_t>(run_.recipe().train.batch);
  return teacher + engine.total(run_.context(), std::min(answers_of(batch), kMostTogether));
}

double Distillation::operations(uint64_t rows, uint64_t length) const {
  return training_operations(teacher_.model(), rows, length) / 3;
}

void Distillation::load() {
  teacher_.load(run_.threads());
  if (recipe_.on_policy == 0) return;
  const StartModel& student = run_.state().model();
  const size_t together = answers_of(static_cast<size_t>(run_.recipe().train.batch));
  engine_ = Engine::from_model(run_.state().snapshot().model, nullptr,
                               {.profile = student.profile,
                                .threads = run_.threads(),
                                .ctx = run_.context(),
                                .sequences = std::clamp<size_t>(together, 1, kMostTogether)});
}

std::optional<std::vector<Sample>> Distillation::with_answers(std::vector<Sample> batch, TrainStep& step) {
  const size_t n = answers_of(batch.size());
  if (n == 0) return batch;
  std::vector<std::vector<TokenId>> prompts;
  size_t longest = 0;
  for (size_t i = 0; i < n; ++i) {
    prompts.push_back(prompt_of(batch[i]));
    longest = std::max(longest, prompts.back().size());
  }
  const Snapshot student = run_.state().snapshot();
  engine_->publish(student.model, student.adapter);
  RolloutOptions how{.max_tokens = std::min(static_cast<size_t>(recipe_.max_tokens), run_.context() - longest),
                     .stop_ids = end_ids_,
                     .seed = static_cast<uint64_t>(run_.recipe().seed),
                     .step = static_cast<uint32_t>(step.step)};
  how.progress = [&](uint64_t /*done*/, uint64_t /*total*/) {
    if (run_.listener().stop()) throw Interrupted();
  };
  std::vector<Rollout> answers;
  try {
    answers = roll_out(*engine_, prompts, how);
  } catch (const Interrupted&) {
    return std::nullopt;
  }
  double tokens = 0, truncated = 0;
  for (size_t i = 0; i < n; ++i) {
    batch[i] = sample_of(answers[i]);
    tokens += static_cast<double>(answers[i].completion().size());
    truncated += answers[i].truncated ? 1 : 0;
  }
  step.more.emplace_back("length", tokens / static_cast<double>(n));
  step.more.emplace_back("truncated", truncated / static_cast<double>(n));
  return batch;
}

void Distillation::add(TrainingForward& student, std::span<const Sample> samples, int64_t count, Gradients* gradients,
                       DistillSums& sums) {
  TrainingForward teacher = teacher_.forward(run_.backend(), samples);
  compare(student, teacher, options_, count, run_.backend().kernels(), pool_, gradients, sums);
}

void Distillation::report(TrainStep& step, const DistillSums& sums, const std::string& prefix) const {
  const double loss = recipe_.temperature * recipe_.temperature * sums.kl;
  if (prefix.empty())
    step.loss = loss;
  else
    step.validation_loss = loss;
  step.more.emplace_back(prefix + "kl", sums.kl);
  step.more.emplace_back(prefix + "cross_entropy", sums.cross_entropy);
}

}  // namespace fathom
