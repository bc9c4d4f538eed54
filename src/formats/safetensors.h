// The safetensors format: u64 header length, a JSON header {name: {dtype, shape, data_offsets}}, then the data, without
// gaps (spec/models.md 7). The header is read and checked before anything is mapped.
// Called by formats/hf_checkpoint.cc, formats/model_header.cc, trainers and tests. An open file may be read by any
// number of threads.
#pragma once
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/seeded_hash.h"
#include "formats/tensor_info.h"

namespace fathom {

class SafetensorsFile {
 public:
  /// Throws Error naming file and tensor where the header is wrong: lengths beyond the file, unknown types, shapes that
  /// do not give the offsets' size, overlaps, gaps. A file that is shorter than its header says is reported as still
  /// downloading or cut off.
  explicit SafetensorsFile(const std::filesystem::path& path);

  const std::filesystem::path& path() const { return path_; }
  const std::vector<StoredRange>& ranges() const { return ranges_; }  ///< in the header's order
  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  bool has(std::string_view name) const { return index_.contains(name); }
  std::optional<Located> locate(std::string_view name) const;
  /// A view of the mapped data. Throws Error naming file and tensor if it is absent.
  Tensor tensor(std::string_view name) const;
  const std::shared_ptr<const MappedFile>& mapping() const { return mapping_; }

 private:
  std::filesystem::path path_;
  std::vector<StoredRange> ranges_;
  NameMap<size_t> index_;
  std::map<std::string, std::string> metadata_;
  std::shared_ptr<const MappedFile> mapping_;
};

/// The header of one file.
struct SafetensorsHeader {
  std::vector<StoredRange> ranges;              ///< in the header's order
  std::map<std::string, std::string> metadata;  ///< __metadata__
  uint64_t header_bytes = 0;                    ///< where the data begins
  uint64_t needed_bytes = 0;                    ///< the file's size for which all tensors lie in it
  /// Lenient reading only: index in `ranges` -> a type that is not read here. Such a tensor's dtype means nothing, and
  /// its size_bytes are what the offsets say.
  std::map<size_t, std::string> foreign_types;
};
/// Reads and checks the header; throws Error as SafetensorsFile does. `lenient`: tensors of unknown types are listed,
/// and the data may end early or be absent.
SafetensorsHeader read_safetensors_header(const InputFile& file, bool lenient = false);

/// The format's name of a type, "F8_E4M3"; nullopt for GGUF's block types.
std::optional<std::string_view> safetensors_name(DType type);

/// Writes the tensors beside `path` and renames the file when it is complete, so that a reader never sees half of it.
/// Wider types come first, which keeps every tensor aligned. Throws Error on a name given twice, a block type, or a
/// disk that does not take the data.
void write_safetensors(const std::filesystem::path& path, const std::vector<std::pair<std::string, Tensor>>& tensors,
                       const std::map<std::string, std::string>& metadata = {});

}  // namespace fathom
