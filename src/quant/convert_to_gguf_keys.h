// The metadata of a converted model: its hyper-parameters as the ecosystem's converter writes them (spec/gguf.md 2),
// and Fathom's own keys with what GGUF has no key for, so that the way back gives the same folder:
//   fathom.hf.config.json, .generation_config.json, .tokenizer_config.json, .special_tokens_map.json: the files' text;
//   fathom.hf.tokenizer.json: without what tokenizer.ggml.* has: model.merges is empty, and of model.vocab only the
//     pieces that are added tokens as well are left (all others are the tokens of type 1, by their index);
//   fathom.hf.chat_template: the name of the file that tokenizer.chat_template came from;
//   fathom.hf.dtypes: {"default": "BF16", "F32": [names], ...}: the stored type of every tensor, by safetensors' names
//     of types; "default" is that of all tensors which are not listed. Scales of FP8 weights are never listed.
// Called by convert_to_gguf.cc. No state: thread-safe.
#pragma once
#include <filesystem>

#include "formats/gguf_writer.h"
#include "quant/convert_to_gguf_plan.h"

namespace fathom {

/// GGUF's name of the architecture: "deepseek2" for deepseek_v2 and deepseek_v3. Throws Error for another model_type.
std::string gguf_architecture(const ModelConfig& config);

/// {architecture}.* and general.file_type. config_json: the folder's file, for keys that stand in the result only where
/// they stand there. What GGUF or its readers cannot express is appended to notes.
void set_model_keys(GgufKeys& keys, const ModelConfig& config, const JsonObject& config_json, const GgufPlan& plan,
                    std::vector<std::string>& notes);

/// fathom.hf.*. Throws Error where a file is no JSON or larger than such a file can be.
void set_fathom_keys(GgufKeys& keys, const std::filesystem::path& folder, const Checkpoint& checkpoint);

}  // namespace fathom
