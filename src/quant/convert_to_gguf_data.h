// The values of one planned tensor, in pieces: rows gathered from the folder's tensors, FP8 scaled, rows rounded to the
// file's type, on several threads. Called by convert_to_gguf.cc. One thread calls; the pool's threads work.
#pragma once
#include <functional>
#include <span>

#include "base/thread_pool.h"
#include "quant/convert_to_gguf_plan.h"

namespace fathom {

/// Calls write with the tensor's bytes from first to last; takes a few MB of memory, or one head of kv_b_proj where
/// that is more. Returns how many finite values became infinite, which F16 does above 65504. What write throws passes
/// through.
uint64_t produce_tensor(const Checkpoint& source, const GgufTensorPlan& tensor, ThreadPool& pool,
                        const std::function<void(std::span<const std::byte>)>& write);

/// Divisors of the rotation frequencies for llama3's scaling, head_dim / 2 of them: 1 where the wavelength w = 2 pi /
/// theta is below L / high_freq_factor, `factor` where it is above L / low_freq_factor, else 1 / ((1 - m) / factor + m)
/// with m = (L / w - low) / (high - low); L = original_max_position_embeddings. Source: spec/gguf.md 3.1.
std::vector<float> llama3_rope_freqs(const ModelConfig& config);

}  // namespace fathom
