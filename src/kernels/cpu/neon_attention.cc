#include "kernels/cpu/neon.h"
#include "kernels/cpu/simd_attention.h"
#include "kernels/cpu/simd_attention_mla.h"
#include "kernels/cpu/simd_neon.h"

namespace fathom::neon {

void attention(float* out, const float* q, size_t group, size_t d, const KvPages& kv, size_t kv_head, size_t n,
               float scale, float* scratch) {
  simd::Attention<Simd>::run(out, q, group, d, kv, kv_head, n, scale, scratch);
}

void attention_mla(float* out, const float* q, size_t heads, size_t latent, size_t rope, const KvPages& kv, size_t n,
                   float scale, float* scratch) {
  simd::AttentionMla<Simd>::run(out, q, heads, latent, rope, kv, n, scale, scratch);
}

}  // namespace fathom::neon
