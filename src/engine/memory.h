// What a model takes of memory: packed weights, the KV cache, scratch of a forward; and the context that fits. The one
// plan behind Engine::load and `fathom inspect`: numbers come from headers, before any weight is read.
// No state: thread-safe.
#pragma once
#include <cstdint>
#include <span>
#include <string>

#include "formats/model_config.h"
#include "formats/tensor_info.h"
#include "kernels/kernels.h"

namespace fathom {

/// In bytes.
struct MemoryNeeds {
  uint64_t weights = 0, scratch = 0, kv_per_token = 0;

  /// Cache of `sequences` contexts of `ctx` positions each, in whole pages; 2^64 - 1 where the product is larger.
  uint64_t kv(uint64_t ctx, uint64_t sequences) const;
  /// weights + scratch + kv(ctx, sequences), bounded likewise.
  uint64_t total(uint64_t ctx, uint64_t sequences) const;
};

/// Packed weights: matrices in whole panels of 16 rows (kernels/kernels.h), vectors as f32; a joined kv_b_proj in
/// blocks or FP8 is split as f32 (models/weights.h). `tensors`: of the whole model, with Hugging Face's names or
/// GGUF's.
uint64_t packed_weight_bytes(std::span<const TensorInfo> tensors);

/// `prefill_chunk`: positions of one forward; scratch grows with it.
MemoryNeeds memory_needs(const ModelConfig& config, uint64_t weight_bytes, CacheType type, size_t prefill_chunk);

/// The context of a run: `asked` positions, or, for 0, what fits into 60% of the available memory after the weights, at
/// most the model's own and at least min(max(4096, least), the model's own) (DESIGN.md 4). Throws UsageError where more
/// than the model's own is asked for, ResourceError with the numbers where memory does not suffice.
size_t choose_context(const MemoryNeeds& needs, const ModelConfig& config, size_t asked, size_t sequences,
                      uint64_t available, size_t least = 0);

/// Pages of cache that fit into 60% of the available memory after weights and scratch; 0: none.
uint64_t pages_that_fit(const MemoryNeeds& needs, uint64_t available);

/// Memory that this process can still take: MemAvailable, and the cgroup's limit where there is one.
uint64_t available_memory_bytes();

/// Memory that this process holds now, and the most that it has held so far; 0: unknown.
uint64_t resident_memory_bytes();
uint64_t peak_resident_memory_bytes();

/// "1.25 GiB"
std::string gib(uint64_t bytes);

}  // namespace fathom
