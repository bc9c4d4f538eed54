// A GGUF file to a GGUF file of other types: what each tensor becomes (the plan), and the work itself, tensor by tensor
// through the mapping in pieces of bounded size, on several threads. Called by cli/quantize.cc. One thread at a time.
#pragma once
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "base/work.h"
#include "formats/gguf.h"
#include "quant/imatrix.h"
#include "quant/mixture.h"

namespace fathom {

struct QuantizeOptions {
  MixtureOptions mixture;                        ///< has_importance is set by `importance`
  bool allow_requantize = false;                 ///< takes tensors that are quantised already: twice the loss
  bool dry_run = false;                          ///< what the work would refuse for want of importances becomes a note
  const ImportanceMatrix* importance = nullptr;  ///< null: none; outlives plan and work
  std::string importance_file;                   ///< its name, for the file's metadata
  size_t threads = 1;
};

struct PlannedTensor {
  Located source;
  TensorInfo target;
  std::optional<DType> wanted;                  ///< set where the row length did not allow this type
  const ImportanceEntry* importance = nullptr;  ///< null: errors are not weighted
};

struct QuantizePlan {
  std::vector<PlannedTensor> tensors;  ///< in the order of writing
  uint64_t bytes_before = 0, bytes_after = 0, values = 0;
  std::vector<std::string> notes;  ///< what the person should know: fallbacks, tensors without importances

  double bits_before() const {
    return values ? 8.0 * static_cast<double>(bytes_before) / static_cast<double>(values) : 0;
  }
  double bits_after() const {
    return values ? 8.0 * static_cast<double>(bytes_after) / static_cast<double>(values) : 0;
  }
};

/// Throws Error naming the tensor: already quantised without allow_requantize (as in llama-quantize every quantised
/// type counts, Q8_0 too; F32, F16 and BF16 are free), of an integer type, an importance of another size; Q2_K_S
/// without importances. UsageError as choose_types.
QuantizePlan plan_quantize(const GgufFile& in, const QuantizeOptions& options);

/// Writes `out`, whole or not at all. Throws Error naming a tensor with an infinite or undefined value or one that the
/// type cannot hold, Error if out is (a part of) the input, ResourceError where the disk has no room, Interrupted from
/// progress (bytes of the input).
void quantize_file(const GgufFile& in, const QuantizePlan& plan, const std::filesystem::path& out,
                   const QuantizeOptions& options, const WorkProgress& progress);

}  // namespace fathom
