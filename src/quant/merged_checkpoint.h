// A checkpoint with a LoRA adapter merged into its weights: what conversion reads where it is given one.
// Called by the conversions of this folder. Reading is thread-safe.
#pragma once
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "formats/checkpoint.h"
#include "formats/peft_adapter.h"

namespace fathom {

/// w [O, K] f32 += scale B A, each value as w + scale * (one chain of fma over the rank, ascending); rows in the
/// checkpoint's order (hugging_face_row). Throws Error naming the weight where the shapes differ.
void merge_into(const Tensor& w, const PeftMatrix& adapter, float scale, const ModelConfig& config);

class MergedCheckpoint final : public Checkpoint {
 public:
  /// Throws Error naming a matrix of the adapter that the checkpoint does not have.
  MergedCheckpoint(std::unique_ptr<Checkpoint> base, PeftAdapter adapter);

  const ModelConfig& config() const override { return base_->config(); }
  const GenerationConfig& generation_config() const override { return base_->generation_config(); }
  std::optional<TokenizerSpec> tokenizer() const override { return base_->tokenizer(); }
  bool has(std::string_view name) const override { return base_->has(name); }
  bool is_merged(std::string_view name) const { return matrices_.contains(name); }
  /// An adapted matrix is f32, whatever its stored type, and was made anew unless it was the last one asked for.
  StoredTensor find(std::string_view name) const override;
  /// The base's, but adapted FP8 matrices are F32 and have no scales.
  const std::vector<TensorInfo>& tensors() const override { return tensors_; }
  Tensor stored(size_t index) const override { return base_->stored(indices_[index]); }
  uint64_t weight_bytes() const override { return base_->weight_bytes(); }
  std::vector<std::string> notes() const override { return base_->notes(); }
  std::string description() const override { return base_->description(); }
  void release(const Tensor& mapped) const override { base_->release(mapped); }

 private:
  std::unique_ptr<Checkpoint> base_;
  PeftAdapter adapter_;
  std::map<std::string_view, const PeftMatrix*> matrices_;  // views of adapter_
  std::vector<TensorInfo> tensors_;
  std::vector<size_t> indices_;  // in base_'s list
  mutable std::mutex mutex_;
  mutable std::string last_name_;
  mutable Tensor last_;
};

/// The checkpoint, with the adapter of that folder merged in unless it is empty.
std::unique_ptr<Checkpoint> open_merged(const std::filesystem::path& path, const std::filesystem::path& adapter);

/// What storing merged values in a quantised type does to them: root mean squares of the change and of the values.
struct MergeError {
  double change = 0, values = 0;  ///< sums of squares
  size_t matrices = 0;
  /// Adds one matrix: merged values, and what is read back of them.
  void add(const Tensor& merged, const Tensor& stored);
  /// "N merged matrices were quantised: RMS error 0.42% of the values' RMS"
  std::string text() const;
};

}  // namespace fathom
