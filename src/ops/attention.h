// Causal attention over the KV cache. Keys and values are stored first, then every row reads its own sequence's pages:
// blocks of 64 positions from the sequence's position 0, combined in order (spec/numerics.md 5), so the result depends
// neither on the batch nor on how a prompt was cut.
#pragma once
#include "ops/context.h"

namespace fathom {

/// Grouped-query attention: out[t, i] = sum over j <= t of softmax_j(q[t, i] . k[j, i / (H / K)] * scale) v[j, i / (H /
/// K)].
///   q [T, H d], k and v [T, K d], returns [T, H d]; k and v are written to the pages of `layer` first.
/// Throws Error if shapes do not fit. Source: arXiv:2305.13245.
Tensor attention(Context& ctx, const Tensor& q, const Tensor& k, const Tensor& v, std::span<const SequenceRows> rows,
                 const LayerCache& layer, size_t heads, size_t kv_heads, float scale);

/// MLA, absorbed: all heads share one latent row [c; k_pe] a position. score = (q_c . c_j + q_pe . k_pe_j) * scale,
/// out[t, h] = sum over j of p_j c_j.
///   q [T, H (latent + rope)], latent_row [T, latent + rope] (after norm and rotation), returns [T, H latent].
/// Source: arXiv:2405.04434, section 2.1 and appendix C.
Tensor attention_mla(Context& ctx, const Tensor& q, const Tensor& latent_row, std::span<const SequenceRows> rows,
                     const LayerCache& layer, size_t heads, size_t latent, float scale);

}  // namespace fathom
