// A model on disk, seen the same way whatever its format: configuration, tokenizer data, and tensors by their Hugging
// Face names. GGUF files are read through a table of names, so that models/ has no branch for a format. Weights stay
// mapped; tensors point into the mapping. Reading is thread-safe.
#pragma once
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "formats/model_config.h"
#include "formats/tensor_info.h"
#include "tensor/tensor.h"
#include "text/tokenizer_spec.h"

namespace fathom {

/// A tensor as stored. FP8 weights bring their block scales.
struct StoredTensor {
  Tensor data;       ///< in its stored type and shape, pointing into the mapped file; outermost dimension first
  Tensor scale_inv;  ///< F8_E4M3 only: f32 [ceil(rows / 128), ceil(columns / 128)], multiplied (spec/models.md 8.2)
};

/// Recommended sampling, from generation_config.json or general.sampling.*; absent values are nullopt.
struct GenerationConfig {
  std::optional<double> temperature, top_p, min_p, repetition_penalty;
  std::optional<int> top_k;
  std::optional<bool> do_sample;
};

class Checkpoint {
 public:
  virtual ~Checkpoint() = default;
  virtual const ModelConfig& config() const = 0;
  virtual const GenerationConfig& generation_config() const = 0;
  /// nullopt where the model has no tokenizer of its own (the golden models).
  virtual std::optional<TokenizerSpec> tokenizer() const = 0;
  /// Whether `find` would return something.
  virtual bool has(std::string_view name) const = 0;
  /// The tensor with this Hugging Face name, "model.layers.3.self_attn.q_proj.weight". Throws Error naming it when it
  /// is absent. For experts "model.layers.3.mlp.experts.5.gate_proj.weight" is a slice of the stack where a file has
  /// stacks. GGUF's MLA form: ".self_attn.k_b_proj.weight" [heads, kv_lora_rank, qk_nope_head_dim] and
  /// ".self_attn.v_b_proj.weight" [heads, v_head_dim, kv_lora_rank]. GGUF's "rope_freqs.weight" has this name here too.
  virtual StoredTensor find(std::string_view name) const = 0;
  /// All tensors of all files, by the files' own names, in their order.
  virtual const std::vector<TensorInfo>& tensors() const = 0;
  /// The data of tensors()[index], as stored.
  virtual Tensor stored(size_t index) const = 0;
  virtual uint64_t weight_bytes() const = 0;
  /// What had to be assumed, for the person to see.
  virtual std::vector<std::string> notes() const { return {}; }
  virtual std::string description() const = 0;  ///< "GGUF v3, 272 tensors", "Hugging Face folder, 1 safetensors file"
  /// The pages of this tensor's mapping can go: the caller has made its own layout of it.
  virtual void release(const Tensor& mapped) const = 0;
};

/// Opens a GGUF file (its other parts too) or a Hugging Face folder. Throws Error naming file, tensor or key; a missing
/// shard, a file that is still downloading (".incomplete", ".part", ".crdownload", or shorter than its header says) and
/// a pickle file are told apart.
std::unique_ptr<Checkpoint> open_checkpoint(const std::filesystem::path& path);

}  // namespace fathom
