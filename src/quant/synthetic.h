// Models with true shapes and random weights, for measuring speed without model files: `fathom bench --synthetic`.
// They load wherever GGUF files do, read and write text byte by byte, and say nothing sensible. One thread.
#pragma once
#include <filesystem>
#include <span>
#include <string_view>
#include <vector>

#include "base/work.h"
#include "formats/model_config.h"
#include "quant/mixture.h"

namespace fathom {

struct SyntheticShape {
  const char* name;         ///< "r1-distill-qwen-1.5b"
  const char* pre;          ///< tokenizer.ggml.pre
  const char* config_json;  ///< of the published model; its end token becomes the file's only control token
};

std::span<const SyntheticShape> synthetic_shapes();
/// Throws UsageError that lists the names.
const SyntheticShape& find_synthetic_shape(std::string_view name);
ModelConfig synthetic_config(const SyntheticShape& shape);

/// The tensors of such a file in the order of writing, with the types that the mixture gives them. Llama, Qwen2 and
/// DeepSeek-V2 (without q_lora_rank).
std::vector<TensorInfo> synthetic_tensors(const ModelConfig& config, const Mixture& mixture);

/// Writes the file, whole or not at all; the same bytes every time. Progress in bytes. Throws UsageError for a mixture
/// with types whose random blocks are not made here, ResourceError where the disk has no room, Interrupted.
void write_synthetic(const std::filesystem::path& path, const SyntheticShape& shape, const Mixture& mixture,
                     const WorkProgress& progress);

}  // namespace fathom
