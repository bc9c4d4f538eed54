#include "engine/memory_estimate.h"

#include "base/checked.h"

namespace fathom {
namespace {

/// The type of most weights, by what config.json says; BF16 where it is silent.
DType type_by_config(const json::value& config_json) {
  const json::object* config = config_json.if_object();
  if (!config) return DType::kBF16;
  if (config->contains("quantization_config")) return DType::kF8E4M3;
  for (const char* key : {"torch_dtype", "dtype"})
    if (const json::value* type = config->if_contains(key); type && type->is_string()) {
      if (type->get_string() == "float32") return DType::kF32;
      if (type->get_string() == "float16") return DType::kF16;
    }
  return DType::kBF16;
}

struct WeightBytes {
  uint64_t bytes;
  const char* source;
};

WeightBytes weight_bytes(const ModelHeader& header, const std::vector<TensorInfo>& tensors, uint64_t values) {
  if (header.complete()) return {packed_weight_bytes(tensors), "tensors"};
  if (header.indexed_bytes) return {*header.indexed_bytes, "index"};
  const uint64_t each = info(type_by_config(header.config_json)).block_bytes;
  return {checked_mul<uint64_t>(values, each).value_or(~uint64_t{0}), "configuration"};
}

}  // namespace

std::optional<MemoryEstimate> estimate_memory(const ModelHeader& header, uint64_t values,
                                              const EngineOptions& options) {
  if (!header.config || (header.tensors.empty() && header.complete())) return std::nullopt;
  std::vector<TensorInfo> tensors;
  for (const HeaderTensor& t : header.tensors)
    if (t.type_known) tensors.push_back(t.info);
  // Without any weights the profile of a run goes by the type that the configuration names.
  if (tensors.empty()) tensors.push_back({"", type_by_config(header.config_json), {1, 1}, 1});
  const RunNumerics numerics = choose_numerics(options, tensors);
  const WeightBytes weights = weight_bytes(header, tensors, values);
  return MemoryEstimate{memory_needs(*header.config, weights.bytes, numerics.cache_type, options.prefill_chunk),
                        weights.source, numerics.profile, numerics.cache_type};
}

}  // namespace fathom
