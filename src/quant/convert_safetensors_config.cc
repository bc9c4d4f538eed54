#include "quant/convert_safetensors_config.h"

namespace fathom {

std::string_view torch_dtype(DType type) {
  switch (type) {
    case DType::kF32: return "float32";
    case DType::kF16: return "float16";
    case DType::kBF16: return "bfloat16";
    default: return "";
  }
}

namespace {

/// Whether the object has either spelling; sets it.
bool replace_dtype(json::object& object, std::string_view name, bool& changed) {
  bool found = false;
  for (const char* key : {"torch_dtype", "dtype"}) {
    json::value* value = object.if_contains(key);
    if (!value || !value->is_string()) continue;
    found = true;
    changed = changed || std::string_view(value->get_string()) != name;
    *value = name;
  }
  for (auto& [key, value] : object)
    if (json::object* inner = value.if_object()) replace_dtype(*inner, name, changed);
  return found;
}

}  // namespace

bool set_torch_dtype(json::object& config, DType type) {
  bool changed = false;
  if (replace_dtype(config, torch_dtype(type), changed)) return changed;
  config["torch_dtype"] = torch_dtype(type);
  return true;
}

json::object fp8_quantization_config(const std::vector<std::string>& kept) {
  json::object q{{"activation_scheme", "dynamic"},
                 {"fmt", "e4m3"},
                 {"quant_method", "fp8"},
                 {"weight_block_size", json::array{128, 128}}};
  if (!kept.empty()) q["modules_to_not_convert"] = json::array(kept.begin(), kept.end());
  return q;
}

std::string config_text(const json::value& config) {
  return to_json(config, {.indent = 2, .key_sep = ": ", .ensure_ascii = true, .python_floats = true}) + "\n";
}

}  // namespace fathom
