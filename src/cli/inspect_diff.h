// The difference of two models, for `fathom inspect --diff`. Main thread.
#pragma once
#include <string>

#include "base/json.h"
#include "formats/model_header.h"

namespace fathom {

/// {format, version, a, b, same, keys: {added, removed, changed}, tensors: {added, removed, changed, data}, notes}.
/// Keys are GGUF's metadata by type and value, or those of config.json and generation_config.json; a folder and a
/// safetensors file have tensors in common, but no keys. Of a GGUF model and another, keys are what config_facts() and
/// parameter_facts() say, and tensors are compared as GGUF has them: by its names, experts in stacks.
/// `data`: tensors of the same type and shape are compared byte by byte, with a progress bar; tensors.data then lists
/// those that differ and is null otherwise. Throws Error where a file cannot be read, Interrupted on Ctrl-C.
json::object inspect_diff(const ModelHeader& a, const ModelHeader& b, bool data);

/// For a person: "-" only in A, "+" only in B, "~" in both but different; one line per key, and one for all tensors
/// that differ alike.
std::string diff_text(const json::object& diff);

}  // namespace fathom
