// A model that does not exist yet, seen as a checkpoint: its tensors are drawn when they are asked for.
#pragma once
#include "formats/checkpoint.h"

namespace fathom {

struct NewWeights;

class DrawnCheckpoint final : public Checkpoint {
 public:
  DrawnCheckpoint(const ModelConfig& config, const NewWeights& weights) : config_(config), weights_(weights) {}
  const ModelConfig& config() const override { return config_; }
  const GenerationConfig& generation_config() const override { return generation_; }
  std::optional<TokenizerSpec> tokenizer() const override { return {}; }
  /// What a loader asks of optional tensors: an MTP module has its own norm.
  bool has(std::string_view name) const override;
  /// Throws Error for a name that no known architecture has.
  StoredTensor find(std::string_view name) const override;
  const std::vector<TensorInfo>& tensors() const override { return none_; }
  Tensor stored(size_t /*index*/) const override { return {}; }
  uint64_t weight_bytes() const override { return 0; }
  std::string description() const override { return "new weights"; }
  void release(const Tensor& /*mapped*/) const override {}

 private:
  const ModelConfig& config_;
  const NewWeights& weights_;
  GenerationConfig generation_;
  std::vector<TensorInfo> none_;
};

}  // namespace fathom
