// The backward passes of the CPU backend: whole tensors, split over the pool by outputs, never by tokens, so that no
// bit depends on the number of threads (spec/numerics.md 8). Each function of Backend of the same name calls one of
// these.
#pragma once
#include "kernels/backend.h"
#include "kernels/cpu/work.h"

namespace fathom {

void cpu_linear_backward(const CpuWork& work, std::span<const LinearBackward> tasks);
void cpu_rms_norm_backward(const CpuWork& work, const Tensor& dx, const Tensor& dweight, const Tensor& dy,
                           const Tensor& x, const Tensor& weight, float eps);
void cpu_silu_mul_backward(const CpuWork& work, const Tensor& dgate, const Tensor& dup, const Tensor& dy,
                           const Tensor& gate, const Tensor& up);
void cpu_rope_backward(const CpuWork& work, const Tensor& dx, const Tensor& dy, size_t heads, size_t head_dim,
                       size_t offset, const Tensor& cos, const Tensor& sin, bool interleaved);
void cpu_attention_rows(const CpuWork& work, const Tensor& out, const Tensor& q, const Tensor& k, const Tensor& v,
                        std::span<const SequenceRows> rows, const AttentionShape& shape);
void cpu_attention_backward(const CpuWork& work, const AttentionGradients& to, const Tensor& dout, const Tensor& q,
                            const Tensor& k, const Tensor& v, std::span<const SequenceRows> rows,
                            const AttentionShape& shape);
void cpu_route_backward(const CpuWork& work, const Tensor& dlogits, const Tensor& dgates, const Tensor& logits,
                        const Tensor& ids, const RouterConfig& config);
double cpu_balance_loss(const CpuWork& work, const Tensor& dlogits, const Tensor& logits,
                        std::span<const SequenceRows> rows, const RouterConfig& config, double weight);
void cpu_gather_rows_backward(const CpuWork& work, const Tensor& dx, const Tensor& dy, const Tensor& row_of_slot);
void cpu_combine_experts_backward(const CpuWork& work, const Tensor& df, const Tensor& dgates, const Tensor& dy,
                                  const Tensor& f, const Tensor& row_of_slot, const Tensor& gates);
void cpu_log_probs(const CpuWork& work, const Tensor& out, const Tensor& logits, const Tensor& targets,
                   float temperature);
void cpu_log_probs_backward(const CpuWork& work, const Tensor& scaled_logits, const Tensor& dlogp,
                            const Tensor& targets, float temperature);
Tensor cpu_as_cached(const CpuWork& work, const Tensor& x, size_t heads, CacheType type);

}  // namespace fathom
