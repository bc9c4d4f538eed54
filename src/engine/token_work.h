// What one token costs: bytes read and multiply-adds, counted from the tensors of a model's file. The arithmetic behind
// the limits that `fathom bench` prints next to each speed (docs/performance.md). Pure functions.
#pragma once
#include <cstdint>
#include <span>

#include "formats/model_config.h"
#include "formats/tensor_info.h"
#include "kernels/kernels.h"

namespace fathom {

/// Bytes as stored in the file; multiply-adds of products with weights. Attention over the cache is in the bytes (every
/// cached position is read once per layer), not in the multiply-adds. MTP modules count nowhere.
struct TokenWork {
  uint64_t shared_bytes = 0;     ///< read once per pass: all but routed experts; of the embedding table nothing
  uint64_t routed_bytes = 0;     ///< all routed experts
  uint64_t row_bytes = 0;        ///< one row of the embedding table
  uint64_t kv_bytes = 0;         ///< one cached position
  uint64_t shared_macs = 0;      ///< without the head
  uint64_t routed_macs = 0;      ///< all routed experts
  uint64_t head_macs = 0;        ///< only the last token of a prompt needs the head
  size_t experts = 0, used = 0;  ///< routed experts of a layer, and those that serve a token

  /// One forward that decodes a token for each of `sequences`, with `depth` cached positions each. Of the routed
  /// experts as many are read as uniform, independent routing would choose: E (1 - (1 - used / E)^sequences).
  double pass_bytes(size_t sequences, double depth) const;
  /// A prompt from an empty cache, `chunk` tokens per forward; without the cache, which is read from near memory.
  double prompt_bytes(size_t tokens, size_t chunk) const;
  double decode_macs() const { return prefill_macs() + static_cast<double>(head_macs); }
  double prefill_macs() const;
};

/// `tensors`: of the whole model, with Hugging Face's names or GGUF's.
TokenWork count_token_work(std::span<const TensorInfo> tensors, const ModelConfig& config, CacheType type);

}  // namespace fathom
