// config.json and generation_config.json of a Hugging Face folder. Called by formats/hf_checkpoint.cc and, for the
// language model inside a larger one, by its reader. No state: thread-safe.
#pragma once
#include <string>
#include <vector>

#include "base/json.h"
#include "formats/checkpoint.h"
#include "formats/model_config.h"

namespace fathom {

/// The configuration in both spellings: rope_theta with rope_scaling, and rope_parameters (transformers 5). Absent keys
/// have the defaults of transformers' config class for the model_type. Validated. Throws Error naming the key; for an
/// unknown model_type, and for features that are not built (sliding windows, MLP biases, other rope types, quantisation
/// other than FP8 in blocks of 128 x 128), it names what was found and what is known.
ModelConfig config_from_json(const JsonObject& object);

/// Token ids under `key`: one, a list, or none.
std::vector<int> token_ids(const JsonObject& object, std::string_view key);

/// Recommended sampling. Throws Error where a value is out of its range.
GenerationConfig generation_config_from_json(const JsonObject& object);

/// The same check for values from anywhere.
void validate(const GenerationConfig& config, std::string_view what);

}  // namespace fathom
