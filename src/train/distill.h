// What stage distill adds to the training loop (train/trainer.cc): a teacher, the loss between its distribution of
// every next token and the student's, and answers that the student draws itself. One thread.
#pragma once
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "engine/engine.h"
#include "train/divergence.h"
#include "train/run.h"
#include "train/teacher.h"

namespace fathom {

/// Means over the counted tokens of an update.
struct DistillSums {
  double kl = 0;             ///< the divergence
  double cross_entropy = 0;  ///< of the samples' own tokens
};

/// Compares the distributions of both models after every token of one micro-batch whose next one counts; both have the
/// same samples and stopped at their hidden states. Adds to the sums, in double and in token order, shares of `count`
/// counted tokens of the whole update. With `gradients`, those of temperature^2 * divergence (so that the temperature
/// leaves their size as it is, arXiv:1503.02531) go on to the student's hidden states and head. Logits exist for a tile
/// of tokens at a time, of both models.
void compare(TrainingForward& student, TrainingForward& teacher, const DivergenceOptions& options, int64_t count,
             const Kernels& kernels, ThreadPool& pool, Gradients* gradients, DistillSums& sums);

class Distillation {
 public:
  /// Opens the teacher's file and compares the vocabularies (train/teacher.h); reads no weights yet.
  Distillation(Run& run, const std::filesystem::path& teacher);

  /// "forward_kl from llama (exact)"
  std::string what() const;
  /// Of the teacher and of what draws answers, beside training `rows` tokens at once.
  uint64_t memory_bytes(uint64_t rows) const;
  /// Multiply-adds of the teacher, counted as training_operations does.
  double operations(uint64_t rows, uint64_t length) const;
  /// Reads the teacher's weights. Once, before what follows.
  void load();

  /// distill.on_policy: the first round(share * samples) samples of the batch become the student's own answers to their
  /// prompts, drawn at temperature 1 by the seed and the step alone. A sample's prompt is what stands before its last
  /// run of tokens that count: a conversation without its last answer, of a window of text its first token. An answer
  /// has at most distill.max_tokens tokens, and at most what the context leaves behind the longest of the prompts; its
  /// tokens count. Adds mean length and truncated share to `step`. nullopt: the listener wants to stop.
  std::optional<std::vector<Sample>> with_answers(std::vector<Sample> batch, TrainStep& step);

  /// Compares a micro-batch's student with the teacher.
  void add(TrainingForward& student, std::span<const Sample> samples, int64_t count, Gradients* gradients,
           DistillSums& sums);
  /// The step's loss, and kl and cross_entropy beside it, named with the prefix.
  void report(TrainStep& step, const DistillSums& sums, const std::string& prefix) const;

 private:
  size_t answers_of(size_t samples) const;

  Run& run_;
  const Recipe::Distill& recipe_;
  DivergenceOptions options_;
  Teacher teacher_;
  ThreadPool pool_;
  std::unique_ptr<Engine> engine_;  // draws; null: no answers
  std::vector<TokenId> end_ids_;
};

}  // namespace fathom
