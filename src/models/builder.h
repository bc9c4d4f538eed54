// Assembles a Model out of a checkpoint's tensors: what all architectures share. llama.cc and deepseek.cc say what is
// different: the attention and the feed-forward of layer i.
#pragma once
#include <functional>

#include "models/model.h"

namespace fathom {

class ModelBuilder {
 public:
  ModelBuilder(const Checkpoint& checkpoint, const LoadOptions& options);

  WeightLoader& loader() { return loader_; }
  /// Embedding, norm, head, rotation over `rope_dims`, and the layers that `make_layer` completes.
  using MakeParts = std::function<void(DecoderLayer& layer, size_t index, const std::string& prefix)>;
  void build(size_t rope_dims, const MakeParts& make_parts);
  /// The MTP module, if the checkpoint carries one.
  void build_mtp(const MakeParts& make_parts);
  std::unique_ptr<const Model> take() { return std::move(model_); }

 private:
  DecoderLayer layer(size_t index, const MakeParts& make_parts);

  std::shared_ptr<Weights> weights_;
  std::unique_ptr<Model> model_;
  WeightLoader loader_;
  bool share_mtp_;
};

std::unique_ptr<const Model> load_llama(const Checkpoint& checkpoint,
                                        const LoadOptions& options);  // llama, qwen2, qwen3, qwen3_moe
std::unique_ptr<const Model> load_deepseek(const Checkpoint& checkpoint,
                                           const LoadOptions& options);  // deepseek_v2, deepseek_v3

}  // namespace fathom
