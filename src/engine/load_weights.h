// From a checkpoint to a model in memory: out of the file of repacked weights where there is one, else packed, while
// the weights id is computed beside it where it is not remembered. Called by Engine::load.
#pragma once
#include <memory>

#include "engine/engine.h"

namespace fathom {

/// Reads path, kernels and threads of `info`; writes its weights_id, repacked and notes: what was written, and why a
/// file was not used or could not be written, which is never an error. Throws what load_model throws.
std::unique_ptr<const Model> load_weights(const Checkpoint& checkpoint, const EngineOptions& options, EngineInfo& info);

/// Forgets the weights ids of a removed model, or of all models in a removed folder, and removes the files of repacked
/// weights that no other known model has. Returns the bytes freed.
uint64_t forget_model(const std::filesystem::path& model, const std::filesystem::path& identity_memory,
                      const std::filesystem::path& repack_folder);

}  // namespace fathom
