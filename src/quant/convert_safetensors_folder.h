// Writing a Hugging Face folder: aside first, renamed when it is complete; the weights in shards with their index.
// Called by the two conversions that end in a folder. One thread; pools work below.
#pragma once
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "base/work.h"
#include "formats/checkpoint.h"
#include "quant/convert_safetensors_values.h"

namespace fathom {

/// A folder that appears complete or not at all: it is filled beside its place, and config.json, without which nobody
/// takes it for a model, should come last.
class FolderAside {
 public:
  /// Throws Error naming the target if it exists and is no empty folder, or its parent cannot be written.
  explicit FolderAside(const std::filesystem::path& target);
  /// Without commit() everything is removed.
  ~FolderAside();
  FolderAside(const FolderAside&) = delete;
  FolderAside& operator=(const FolderAside&) = delete;

  const std::filesystem::path& path() const { return aside_; }
  void write_text(std::string_view name, std::string_view text);
  /// Throws ResourceError with both numbers if the disk has less than `bytes` left.
  void require_space(uint64_t bytes) const;
  void commit();

 private:
  std::filesystem::path target_, aside_;
  bool done_ = false;
};

inline constexpr uint64_t kDefaultShardBytes = 5'000'000'000;  // as transformers

struct FolderOptions {
  uint64_t max_shard_bytes = kDefaultShardBytes;  ///< a larger tensor has a shard of its own
  size_t threads = 0;                             ///< 0: physical cores
  std::filesystem::path adapter;                  ///< folder of a LoRA adapter to merge into the weights; empty: none
};

struct FolderReport {
  size_t tensors = 0, files = 0;
  uint64_t bytes = 0;  ///< of the tensors
  std::vector<std::string> notes;
};

/// Writes model.safetensors, or model-0000N-of-0000M.safetensors and model.safetensors.index.json; adds to `report`,
/// with notes on values that were rounded or overflowed, by type. Throws Interrupted where `progress` does.
void write_weights(const Checkpoint& checkpoint, std::vector<WeightToWrite> weights, FolderAside& folder,
                   const FolderOptions& options, const WorkProgress& progress, FolderReport& report);

}  // namespace fathom
