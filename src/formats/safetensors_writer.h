// Writes safetensors files (spec/models.md 7): the header first, then the data of one tensor after the other, in
// pieces, so that a file larger than memory can be made. The file appears whole or not at all.
// Called by conversion and, through write_safetensors, by trainers and tests. One thread.
#pragma once
#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "formats/atomic_file.h"
#include "formats/tensor_info.h"

namespace fathom {

class SafetensorsWriter {
 public:
  /// Writes the header. `tensors`: names, types and shapes in the order of their data; size_bytes is computed here.
  /// Where wider types come first, every tensor is aligned for its type. Throws Error naming the tensor: a name given
  /// twice or reserved, a block type; and what AtomicFile throws.
  SafetensorsWriter(const std::filesystem::path& path, std::vector<TensorInfo> tensors,
                    const std::map<std::string, std::string>& metadata = {});

  /// The next bytes of the data: tensors in order, in pieces of any size.
  void write(std::span<const std::byte> data);
  /// That every byte announced was written is an invariant of the caller.
  void commit();
  uint64_t total_bytes() const { return total_; }  ///< of the finished file

 private:
  AtomicFile file_;
  uint64_t written_ = 0, total_ = 0;
};

}  // namespace fathom
