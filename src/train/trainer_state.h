// The trainer's part of a checkpoint: trainer.safetensors (optimizer, averages) and trainer.json (where the run stands,
// what it is, checksums of the checkpoint's files). Written last into a folder that holds the model already; a folder
// without a valid trainer.json is no checkpoint. Called by the training loop. One thread per folder.
#pragma once
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "train/parameter.h"

namespace fathom {

/// What must be equal for a resumed run to have the same bits, by name: {"recipe", "<hash>"}, {"profile", "exact"}.
using RunIdentity = std::vector<std::pair<std::string, std::string>>;

struct TrainerProgress {
  uint64_t step = 0;    ///< optimizer steps done
  uint64_t tokens = 0;  ///< tokens seen
};

/// Writes both files, trainer.json last and each whole or not at all. `files`: names of other files in `folder` (the
/// model's) whose sizes and checksums trainer.json also keeps. Throws Error or ResourceError (disk full) as AtomicFile
/// does, naming the file.
void save_trainer_state(const std::filesystem::path& folder, const TrainerProgress& progress,
                        const RunIdentity& identity, const NamedTensors& tensors, std::span<const std::string> files);

/// Checks everything, then copies the stored values into `tensors`, which stay as they were if anything is wrong.
/// Throws Error naming file and thing: trainer.json absent, damaged, of another format or version; an identity that
/// differs (by name, with both values); a file absent, of another size or checksum; a tensor missing, unknown or of
/// another type or shape.
TrainerProgress load_trainer_state(const std::filesystem::path& folder, const RunIdentity& identity,
                                   const NamedTensors& tensors);

}  // namespace fathom
