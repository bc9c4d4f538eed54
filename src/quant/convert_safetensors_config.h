// Changes to a config.json when the weights beside it change type. Called by the conversions that end in a folder.
// No state: thread-safe.
#pragma once
#include <string>
#include <vector>

#include "base/json.h"
#include "tensor/dtype.h"

namespace fathom {

/// "BF16" as config.json's torch_dtype: "bfloat16"; "" for types that are none.
std::string_view torch_dtype(DType type);

/// Sets torch_dtype, or dtype where the file has that spelling, here and in objects inside that have one (a language
/// model within a larger one). Returns whether anything changed.
bool set_torch_dtype(json::object& config, DType type);

/// quantization_config of FP8 weights in blocks of 128 x 128; `kept`: names of linears that stay as they are, for
/// loaders that would otherwise expect FP8 there.
json::object fp8_quantization_config(const std::vector<std::string>& kept);

/// As transformers writes it: two spaces a level, Python's floats, a newline at the end.
std::string config_text(const json::value& config);

}  // namespace fathom
