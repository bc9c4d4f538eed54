// What the two kinds of checkpoints share: tensors located in mapped files, experts cut out of stacks, FP8 scales.
// Called by formats/hf_checkpoint.cc and formats/gguf_checkpoint.cc. Thread-safe after construction.
#pragma once
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "formats/checkpoint.h"
#include "formats/gguf_names.h"

namespace fathom {

class MappedCheckpoint : public Checkpoint {
 public:
  const ModelConfig& config() const override { return config_; }
  const GenerationConfig& generation_config() const override { return generation_config_; }
  bool has(std::string_view name) const override { return place(name).has_value(); }
  StoredTensor find(std::string_view name) const override;
  const std::vector<TensorInfo>& tensors() const override { return tensors_; }
  uint64_t weight_bytes() const override { return weight_bytes_; }
  void release(const Tensor& mapped) const override;

 protected:
  struct Place {
    Located data;
    std::optional<Located> scale_inv;
  };
  /// nullopt: there is no such tensor. Throws Error if it is there in a wrong form.
  virtual std::optional<Place> place(std::string_view name) const = 0;
  /// One expert of a stack [E, rows, columns]; of a merged one [E, gate rows then up rows, columns] its half.
  /// nullopt: the stack has fewer experts. Throws Error naming the stack if its shape is another.
  static std::optional<Located> expert_of(const Located& stack, const ExpertName& expert, bool merged);
  void add_tensor(TensorInfo tensor);

  std::string what_;  ///< the path, for messages
  ModelConfig config_;
  GenerationConfig generation_config_;
  std::vector<std::shared_ptr<const MappedFile>> mappings_;

 private:
  std::vector<TensorInfo> tensors_;
  uint64_t weight_bytes_ = 0;
};

/// {tensor: file} of model.safetensors.index.json. Throws Error unless each is the name of a file beside the index.
std::map<std::string, std::string> read_weight_map(const std::filesystem::path& index);

std::unique_ptr<Checkpoint> open_hf_folder(const std::filesystem::path& folder);
std::unique_ptr<Checkpoint> open_gguf(const std::filesystem::path& file);

}  // namespace fathom
