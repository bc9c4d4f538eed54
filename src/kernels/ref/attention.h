// Attention over KV pages, online softmax by blocks of 64 positions (spec/numerics.md 5 and 6), and the writers of
// pages. Pure functions over the caller's memory, any thread.
#pragma once
#include <cstddef>

#include "kernels/kernels.h"
#include "kernels/ref/scalar.h"

namespace fathom::ref {

/// scores, softmax and values of one block after the other, blocks combined in order. Source: arXiv:1805.02867 (the
/// running maximum and denominator).
void attention(float* out, const float* q, size_t group, size_t d, const KvPages& kv, size_t kv_head, size_t n,
               float scale, float* scratch);
/// The same over latent rows: keys are the whole row, values its first `latent` numbers. Source: arXiv:2405.04434, 2.1.
void attention_mla(float* out, const float* q, size_t heads, size_t latent, size_t rope, const KvPages& kv, size_t n,
                   float scale, float* scratch);
/// The same shared by threads (kernels.h): the weights of some blocks, then some components.
void attention_weights(float* parts, const float* q, size_t group, size_t d, const KvPages& kv, size_t kv_head,
                       size_t n, float scale, size_t begin, size_t end);
void attention_values(float* out, const float* parts, size_t group, size_t d, const KvPages& kv, size_t kv_head,
                      size_t n, size_t begin, size_t end, float* scratch);
void attention_mla_weights(float* parts, const float* q, size_t heads, size_t latent, size_t rope, const KvPages& kv,
                           size_t n, float scale, size_t begin, size_t end, float* scratch);
void attention_mla_values(float* out, const float* parts, size_t heads, size_t latent, size_t rope, const KvPages& kv,
                          size_t n, size_t begin, size_t end, float* scratch);

}  // namespace fathom::ref
