// What a tensor file says of its tensors, and the step from there to a Tensor that points into the mapped file.
// Called by the readers of safetensors and GGUF. No state: thread-safe.
#pragma once
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/mapped_file.h"
#include "tensor/tensor.h"

namespace fathom {

struct TensorInfo {
  std::string name;  ///< as in the file
  DType dtype;
  Shape shape;
  uint64_t size_bytes;
};

/// A tensor's place in its file.
struct StoredRange {
  TensorInfo info;
  uint64_t offset;  ///< of the first byte, from the beginning of the file
};

/// Text from outside as it may stand in a message: valid UTF-8 without control characters and without marks that change
/// the direction of writing, at most 100 bytes; what is replaced becomes "?".
std::string printable(std::string_view text);

/// Bytes of a tensor of this type and shape. Throws Error naming `what` if the product overflows or the last dimension
/// is no whole number of blocks.
uint64_t stored_bytes(std::string_view what, DType type, const Shape& shape);

/// Throws Error naming `what` and both tensors if two ranges share a byte. Sorts `ranges` by offset.
void refuse_overlaps(std::string_view what, std::span<const StoredRange*> ranges);

/// A tensor, or part of one, in its mapped file; the range was checked when the header was read.
struct Located {
  std::shared_ptr<const MappedFile> file;
  StoredRange range;

  const Shape& shape() const { return range.info.shape; }
  /// Rows [begin, begin + n) of the outermost dimension.
  Located rows(size_t begin, size_t n) const;
  /// Element `index` of a stack: [E, R, C] becomes [R, C].
  Located element(size_t index) const;
  /// The data, as a view that keeps the mapping alive. Data that is not aligned for its element type is copied instead,
  /// since f32 cannot be read from an odd address.
  Tensor tensor() const;
};

}  // namespace fathom
