#include "cli/inspect_memory.h"

#include <algorithm>
#include <set>

#include "base/checked.h"
#include "cli/engine_loader.h"
#include "engine/identity.h"
#include "engine/memory_estimate.h"

namespace fathom {
namespace {

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
  const auto count = [&](const char* key) { return parameters.at(key).to_number<uint64_t>(); };
  const uint64_t values = checked_add(count("total"), count("mtp")).value_or(~uint64_t{0});
  const std::optional<MemoryEstimate> estimate = estimate_memory(header, values, engine_options(settings));
  if (!estimate) return nullptr;
  const MemoryNeeds& needs = estimate->needs;
  json::array rows;
  for (const uint64_t ctx : contexts(*header.config, settings))
    rows.push_back(json::object{{"ctx", ctx}, {"kv", needs.kv(ctx, batch)}, {"total", needs.total(ctx, batch)}});
  json::object out{{"weights", needs.weights},
                   {"weights_source", estimate->weights_source},
                   {"scratch", needs.scratch},
                   {"kv_per_token", needs.kv_per_token},
                   {"profile", name(estimate->profile)},
                   {"cache_type", name(estimate->cache_type)},
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
