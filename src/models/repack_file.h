// The packed matrices of a model in a file of ours, which the next start maps instead of packing them again
// (DESIGN.md 4). Called by the loader of weights and by engine/load_weights.cc.
//
// The file, little-endian: a header of 256 bytes, the checksum of every piece, and from the next multiple of 4096 on
// the panels of every matrix in the order of loading, each from a multiple of 64 on. A piece is at most 1 MiB of one
// matrix; its checksum covers the matrix's name, type and shape too. A file that is cut off, damaged, or of another
// model, packing or version is refused: its sizes before it is mapped, each matrix before it is used.
#pragma once
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/mapped_file.h"
#include "base/thread_pool.h"
#include "kernels/weight.h"

namespace fathom {

class Weights;

/// What a file belongs to.
struct RepackKey {
  std::string weights_id;  ///< spec/numerics.md 9, 64 hex digits
  std::string table;       ///< the kernels' name, at most 15 letters
};

/// folder/<weights id>.<table>.v1
std::filesystem::path repack_path(const std::filesystem::path& folder, const RepackKey& key);

/// Reads a file from its first matrix to its last, once. One thread.
class RepackFile {
 public:
  /// Throws Error naming the path, what was expected and what found. `in_place`: for tests; else by the system's pages.
  RepackFile(const std::filesystem::path& path, const RepackKey& key, std::optional<bool> in_place = {});

  /// The panels of the next matrix: in the mapped file where the system gave it huge pages, else read into such.
  /// Throws Error if the file has none, another one or a damaged one there.
  Tensor next(const std::string& name, DType dtype, size_t O, size_t K, ThreadPool& pool);
  /// Throws Error if matrices are left.
  void require_end() const;
  bool in_place() const { return in_place_; }
  uint64_t size_bytes() const { return map_->bytes().size(); }

 private:
  std::filesystem::path path_;
  std::shared_ptr<const MappedFile> map_;
  std::vector<uint64_t> checksums_;
  uint64_t at_ = 0;
  size_t piece_ = 0;
  bool in_place_ = false;
};

/// Removes what an older version of this program wrote of the same weights for the same kernels, writes all matrices
/// aside, then renames; makes the folder. Returns the file's size. Throws what AtomicFile and require_room throw. Any
/// number of processes may write the same file; the last one's stays.
uint64_t write_repack_file(const std::filesystem::path& path, const RepackKey& key, const Weights& weights,
                           ThreadPool& pool);

/// Removes the files of these weights, of every table and version; returns the bytes freed.
uint64_t remove_repack_files(const std::filesystem::path& folder, const std::vector<std::string>& weights_ids);

}  // namespace fathom
