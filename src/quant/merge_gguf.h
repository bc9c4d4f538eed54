// A LoRA adapter merged into a GGUF file, each tensor staying in its type. Called by cli/convert.cc. One thread calls;
// a pool works below.
#pragma once
#include "base/work.h"
#include "quant/merged_checkpoint.h"

namespace fathom {

struct MergedGguf {
  size_t tensors = 0;
  uint64_t bytes = 0;  ///< of the file
  MergeError error;    ///< of merged matrices in quantised types
};

/// Writes `out` with the metadata and tensors of the file `in`, W + scale B A in the place of each adapted W: computed
/// in f32 and stored in W's type (quant/quantize.h, without importances). Throws Error naming the matrix where the
/// file has none of the name or shape, a type that is not written, or a value that the type cannot hold; Error if out
/// is the input; ResourceError where the disk has no room; Interrupted from progress (bytes of the input).
MergedGguf merge_into_gguf(const std::filesystem::path& in, const std::filesystem::path& out,
                           const std::filesystem::path& adapter, size_t threads, const WorkProgress& progress = {});

}  // namespace fathom
