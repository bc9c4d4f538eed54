// GGUF metadata to the same ModelConfig that config.json gives (spec/gguf.md 2). Called by formats/gguf_checkpoint.cc.
// No state: thread-safe.
#pragma once
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "formats/checkpoint.h"
#include "formats/gguf.h"
#include "formats/model_config.h"

namespace fathom {

/// Architectures llama, qwen2, qwen3, qwen3moe and deepseek2 (MLA form and legacy). Validated; without eos ids, which
/// the tokenizer's keys give. Throws Error naming the key, or listing the known architectures. The file cannot say how
/// deepseek2 scores groups of experts: softmax gating takes a group's maximum (V2), sigmoid the sum of its two best
/// (V3). Files from before the group keys get the groups of the published model with as many experts (V3: 8, 4 of 256;
/// V2: 8, 3 of 160); each assumption is appended to `notes` if that is not null.
ModelConfig config_from_gguf(const GgufFile& file, std::vector<std::string>* notes = nullptr);

/// The same from metadata and the shapes of the tensors by name (null: there is no such tensor): for headers alone.
using ShapeOf = std::function<const Shape*(std::string_view name)>;
ModelConfig config_from_gguf(const GgufMetadata& metadata, const ShapeOf& shape_of,
                             std::vector<std::string>* notes = nullptr);

/// general.sampling.*
GenerationConfig generation_config_from_gguf(const GgufMetadata& metadata);

}  // namespace fathom
