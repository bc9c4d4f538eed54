// What a model would take of memory, told from its headers before it is loaded: the numbers of `fathom inspect` and of
// the app's list of models. Planned as Engine::load does. Thread-safe: no state.
#pragma once
#include <optional>

#include "engine/engine.h"
#include "engine/memory.h"
#include "formats/model_header.h"

namespace fathom {

struct MemoryEstimate {
  MemoryNeeds needs;
  const char* weights_source = "";  ///< "tensors"; "index" and "configuration": the files are not all here
  Profile profile = Profile::kExact;
  CacheType cache_type = CacheType::kF32;
};

/// `values`: parameters of the whole model, read where its files are not all here. nullopt where the configuration is
/// unknown or there are no weights at all (a vocabulary). Throws UsageError as choose_numerics does.
std::optional<MemoryEstimate> estimate_memory(const ModelHeader& header, uint64_t values, const EngineOptions& options);

}  // namespace fathom
