// The model that a student learns from: any file that runs, quantised too, computed as at inference. Called by
// distillation. One thread.
#pragma once
#include <filesystem>
#include <memory>

#include "formats/checkpoint.h"
#include "train/forward.h"
#include "train/start_model.h"

namespace fathom {

class Teacher {
 public:
  /// Reads the headers of a folder or file. Throws Error naming it and the student where the two do not have one
  /// vocabulary: its size, and the text of every id of their tokenizers.
  Teacher(const std::filesystem::path& path, const StartModel& student);

  const ModelConfig& config() const { return checkpoint_->config(); }
  uint64_t weight_bytes() const { return checkpoint_->weight_bytes(); }
  Profile profile() const { return profile_; }  ///< the file's own (spec/numerics.md 1)

  /// Reads the weights. Once, before model() and forward().
  void load(size_t threads);
  const Model& model() const { return *model_; }
  /// The hidden states of the samples, for for_logits; no tape.
  TrainingForward forward(Backend& backend, std::span<const Sample> samples) const;

 private:
  std::unique_ptr<Checkpoint> checkpoint_;
  Profile profile_;
  CacheType cache_type_;
  std::unique_ptr<const Model> model_;  // null: not loaded yet
};

}  // namespace fathom
