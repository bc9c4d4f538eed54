// Attention over KV pages of the CPU backend. Each function of Backend of the same name calls one of these.
#pragma once
#include <vector>

#include "kernels/backend.h"
#include "kernels/cpu/work.h"

namespace fathom {

/// A row's query heads that read the same keys: of a kv head, or 16 over latents.
struct AttentionUnit {
  const SequenceRows* sequence;
  size_t row, part;  ///< row of the sequence, which heads
  size_t at;         ///< of its first block's weights

  size_t positions() const { return sequence->position + row + 1; }
  size_t blocks() const { return pieces(positions(), kPagePositions); }
};

/// What threads that share a row leave for each other. Grows to the largest need and stays.
struct SharedAttention {
  std::vector<AttentionUnit> units;
  std::vector<float> weights;
};

void cpu_attention(const CpuWork& work, SharedAttention& shared, const Tensor& out, const Tensor& q,
                   std::span<const SequenceRows> sequences, const LayerCache& layer, size_t heads, size_t kv_heads,
                   float scale);
void cpu_attention_mla(const CpuWork& work, SharedAttention& shared, const Tensor& out, const Tensor& q,
                       std::span<const SequenceRows> sequences, const LayerCache& layer, size_t heads, size_t latent,
                       float scale);

}  // namespace fathom
