// What a GGUF file says of itself: general.* from the folder's name, config.json's _name_or_path, the model card at the
// head of README.md and generation_config.json, by the rules of the ecosystem's converter.
// Called by convert_to_gguf.cc and tests. No state: thread-safe.
#pragma once
#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "formats/checkpoint.h"
#include "formats/gguf_writer.h"

namespace fathom {

/// "deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B" taken apart; empty where there is nothing.
struct ModelNameParts {
  std::string name, organization, basename, finetune, version, size_label;
};
/// parameters: of the model, to tell a size ("7B") from a context length ("32k"); 0: unknown.
ModelNameParts parse_model_name(std::string_view id, uint64_t parameters);

/// "DeepSeek-R1-distill" to "DeepSeek R1 Distill".
std::string title_from_name(std::string_view name);

/// The fields of a model card: the lines between the two "---" at the head of a README.md that are "key: value",
/// "key: [a, b]" or "key:" with "- value" lines below. Anything deeper is passed over.
std::map<std::string, std::vector<std::string>> parse_model_card(std::string_view readme);

/// "1.5B"; "8x402K" for a model of `experts` experts, where `parameters` counts one expert of each layer.
std::string size_label(uint64_t parameters, size_t experts);

/// general.architecture, .type, .sampling.*, .name, .version, .size_label, .license, ... `tensors`: of the result, to
/// count parameters.
void set_general_keys(GgufKeys& keys, const std::filesystem::path& folder, const std::string& architecture,
                      const JsonObject& config_json, const GenerationConfig& generation,
                      const std::vector<TensorInfo>& tensors);

}  // namespace fathom
