// The memory a model takes, for `fathom inspect`. Main thread.
#pragma once
#include "base/json.h"
#include "cli/settings.h"
#include "formats/model_header.h"

namespace fathom {

/// {weights, weights_source, scratch, kv_per_token, profile, cache_type, batch, contexts: [{ctx, kv, total}], fits_ctx}
/// in bytes, planned as Engine::load does. weights_source: "tensors"; "index" and "configuration" are estimates, for a
/// model whose files are not all here. fits_ctx: the context that a run would choose now; null: not even the least
/// fits. Null instead of the object where the configuration is unknown or there are no weights at all (a vocabulary).
/// `parameters`: parameter_facts().
json::value memory_facts(const ModelHeader& header, const json::object& parameters, const Settings& settings,
                         uint64_t batch);

}  // namespace fathom
