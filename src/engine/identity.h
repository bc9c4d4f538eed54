// What a run computed with (spec/numerics.md 9): the weights' hash, and the line that names weights, profile and cache.
// They key prefix caches, resumable runs and reports, and are shown with results. Pure functions; files are written
// aside and renamed.
#pragma once
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "base/work.h"
#include "formats/checkpoint.h"
#include "kernels/kernels.h"
#include "kernels/profile.h"

namespace fathom {

/// BLAKE2b-256, in hex, over the tensors sorted by name: of each the name, type and shape as "name\nTYPE\nd0,d1\n",
/// then the data as stored. Reads all weights once; `progress` counts their bytes.
std::string weights_id(const Checkpoint& checkpoint, const WorkProgress& progress = {});

/// A memory of ids in a JSON file, by path, size and time of change of the model's files. An unreadable or foreign file
/// is ignored and written anew; a folder that cannot be written is a warning in the log.
class WeightsIdMemory {
 public:
  explicit WeightsIdMemory(std::filesystem::path file) : file_(std::move(file)) {}

  /// What the model's files are now; to be taken before they are read.
  static std::string stamp(const std::filesystem::path& model);
  std::optional<std::string> recall(const std::string& stamp) const;
  /// Returns the ids that earlier files of this model had and no known model has now.
  std::vector<std::string> remember(const std::string& stamp, const std::string& id) const;
  /// Forgets the model, or all in the folder `model`; returns ids as above.
  std::vector<std::string> forget(const std::filesystem::path& model) const;

 private:
  std::filesystem::path file_;
};

/// BLAKE2b-256, in hex, of "fathom-numerics-1 weights=... adapter=... profile=... cache=..."; adapter "none" without
/// one.
std::string numerics_id(const std::string& weights_id, Profile profile, CacheType cache,
                        const std::string& adapter = "none");

std::string_view name(CacheType type);  ///< "f32", "bf16", "q8"
std::optional<CacheType> cache_type_from_name(std::string_view text);

}  // namespace fathom
