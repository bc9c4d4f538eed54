// One tensor through the quantiser: read from the mapping, checked, converted and written slab by slab, the pieces of
// a slab on all threads. Memory is a few MB per thread whatever the tensor's size. Called by quantize_file.cc alone.
// One thread.
#pragma once
#include <atomic>
#include <string>
#include <vector>

#include "base/function_ref.h"
#include "base/thread_pool.h"
#include "formats/gguf_writer.h"
#include "quant/quantize_file.h"

namespace fathom {

class TensorQuantizer {
 public:
  /// `file`: the input's name for messages. Pool and writer outlive this object.
  TensorQuantizer(std::string file, ThreadPool& pool, GgufWriter& writer)
      : file_(std::move(file)), pool_(pool), writer_(writer) {}

  /// Writes the tensor and gives its mapped pages back; `done` is called with the input bytes of each slab. Throws
  /// Error naming file and tensor for a value that is infinite, not a number, or too large for the target's scales.
  void run(const PlannedTensor& tensor, FunctionRef<void(uint64_t)> done);

 private:
  struct Slab {  // a run of whole rows (weighted) or whole blocks
    const std::byte* source;
    uint64_t begin, values;  // from the tensor's first value
  };
  void convert(const PlannedTensor& tensor, const Slab& slab);
  void convert_piece(const PlannedTensor& tensor, const Slab& slab, size_t piece);
  void refuse_bad_values(const PlannedTensor& tensor);

  static constexpr uint64_t kNone = UINT64_MAX;
  std::string file_;
  ThreadPool& pool_;
  GgufWriter& writer_;
  // Of the tensor at hand:
  uint64_t piece_ = 0;  // values
  std::vector<float> means_, values_;
  std::vector<std::byte> blocks_;
  std::atomic<uint64_t> bad_{kNone}, too_large_{kNone};  // the first value (of a piece) that cannot be taken
};

}  // namespace fathom
