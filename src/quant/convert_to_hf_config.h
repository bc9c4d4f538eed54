// config.json and generation_config.json for a model that comes from a GGUF file: the texts that its fathom.hf.* keys
// keep where the file's own keys agree with them, else made from those keys. Called by convert_to_hf.cc.
// No state: thread-safe.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "formats/checkpoint.h"
#include "formats/gguf.h"

namespace fathom {

/// config.json for weights of mostly `type`. With fathom.hf.config.json its text, byte for byte; where GGUF's keys say
/// something else, those win, and a note names the fields. torch_dtype follows the weights; a quantization_config is
/// dropped, since the weights are plain. Without the key it is made from GGUF's, with a note on what is unknown.
/// Throws Error where rope_freqs.weight has frequencies that no rope_scaling gives.
std::string hf_config(const GgufFile& file, const Checkpoint& checkpoint, DType type, std::vector<std::string>& notes);

/// nullopt: nothing is known of it. general.sampling.* wins over the kept text, with a note.
std::optional<std::string> hf_generation_config(const GgufMetadata& metadata, const Checkpoint& checkpoint,
                                                std::vector<std::string>& notes);

/// rope_scaling of type llama3 whose frequencies' divisors are these: low_freq_factor 1 and high_freq_factor 4, as in
/// every published model, the factor and the original context found. nullopt: there is none. Source: spec/gguf.md 3.1.
std::optional<RopeScaling> llama3_from_rope_freqs(const ModelConfig& config, const Tensor& rope_freqs);

}  // namespace fathom
