#include "cli/inspect_memory.h"

#include <algorithm>
#include <set>

#include "base/checked.h"
#include "cli/engine_loader.h"
#include "engine/engine.h"
#include "engine/identity.h"
#include "engine/memory.h"

namespace fathom {
namespace {

struct WeightBytes {
  uint64_t bytes;
  const char* source;
};

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

WeightBytes weight_bytes(const ModelHeader& header, const std::vector<TensorInfo>& tensors,
                         const json::object& parameters) {
  if (header.complete()) return {packed_weight_bytes(tensors), "tensors"};
  if (header.indexed_bytes) return {*header.indexed_bytes, "index"};
  const auto count = [&](const char* key) { return parameters.at(key).to_number<uint64_t>(); };
  const uint64_t values = checked_add(count("total"), count("mtp")).value_or(~uint64_t{0});
  return {checked_mul<uint64_t>(values, info(type_by_config(header.config_json)).block_bytes).value_or(~uint64_t{0}),
          "configuration"};
}

/// --ctx, else 4,096 and the model's own.
std::set<uint64_t> contexts(const ModelConfig& config, const Settings& settings) {
  const uint64_t most = config.max_position_embeddings;
  const uint64_t asked = settings.count("ctx").value_or(0);
  if (asked > most)
    throw UsageError(cat("--ctx: expected at most the model's own ", most, " positions, found ", asked));
  if (asked) return {asked};
  return {std::min<uint64_t>(4096, most), most};
}

}  // namespace

json::value memory_facts(const ModelHeader& header, const json::object& parameters, const Settings& settings,
                         uint64_t batch) {
  if (!header.config || (header.tensors.empty() && header.complete())) return nullptr;
  std::vector<TensorInfo> tensors;
  for (const HeaderTensor& t : header.tensors)
    if (t.type_known) tensors.push_back(t.info);
  // Without any weights the profile of a run goes by the type that the configuration names.
  if (tensors.empty()) tensors.push_back({"", type_by_config(header.config_json), {1, 1}, 1});
  const EngineOptions options = engine_options(settings);
  const RunNumerics numerics = choose_numerics(options, tensors);
  const WeightBytes weights = weight_bytes(header, tensors, parameters);
  const MemoryNeeds needs = memory_needs(*header.config, weights.bytes, numerics.cache_type, options.prefill_chunk);
  json::array rows;
  for (const uint64_t ctx : contexts(*header.config, settings))
    rows.push_back(json::object{{"ctx", ctx}, {"kv", needs.kv(ctx, batch)}, {"total", needs.total(ctx, batch)}});
  json::object out{{"weights", needs.weights},
                   {"weights_source", weights.source},
                   {"scratch", needs.scratch},
                   {"kv_per_token", needs.kv_per_token},
                   {"profile", name(numerics.profile)},
                   {"cache_type", name(numerics.cache_type)},
                   {"batch", batch},
                   {"contexts", std::move(rows)},
                   {"available", available_memory_bytes()},
                   {"fits_ctx", nullptr}};
  try {
    out["fits_ctx"] = choose_context(needs, *header.config, 0, batch, available_memory_bytes());
  } catch (const ResourceError&) {  // the answer is "nothing fits", and null says so
  }
  return out;
}

}  // namespace fathom
