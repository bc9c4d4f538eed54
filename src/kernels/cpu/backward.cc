#include "kernels/cpu/backward.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "kernels/cpu/number.h"
#include "kernels/cpu/route.h"
#include "kernels/ref/backward.h"
#include "tensor/float_types.h"

namespace fathom {
namespace {

constexpr size_t kWeightColumns = 64;  // a multiple of sixteen lanes

}  // namespace

void cpu_rms_norm_backward(const CpuWork& work, const Tensor& dx, const Tensor& dweight, const Tensor& dy,
                           const Tensor& x, const Tensor& weight, float eps) {
  with_type(x, [&](auto zero) {
    using F = decltype(zero);
    const Math<F> math{work.k};
    const size_t D = weight.count(), T = x.count() / D;
    std::vector<F> r(T);
    work.rows(T, D, [&](size_t begin, size_t n) {
      math.rms_norm_backward(dx.data<F>() + begin * D, r.data() + begin, dy.data<F>() + begin * D,
                             x.data<F>() + begin * D, weight.data<F>(), n, D, static_cast<F>(eps));
    });
    work.pool.run(pieces(D, kWeightColumns), [&](size_t i) {
      math.rms_norm_backward_weight(dweight.data<F>(), r.data(), dy.data<F>(), x.data<F>(), T, D, i * kWeightColumns,
                                    std::min(D, (i + 1) * kWeightColumns));
    });
  });
}

void cpu_silu_mul_backward(const CpuWork& work, const Tensor& dgate, const Tensor& dup, const Tensor& dy,
                           const Tensor& gate, const Tensor& up) {
  with_type(dy, [&](auto zero) {
    using F = decltype(zero);
    const Math<F> math{work.k};
    work.rows(dy.count(), 1, [&](size_t i, size_t n) {
      math.silu_mul_backward(dgate.data<F>() + i, dup.data<F>() + i, dy.data<F>() + i, gate.data<F>() + i,
                             up.data<F>() + i, n);
    });
  });
}

void cpu_rope_backward(const CpuWork& work, const Tensor& dx, const Tensor& dy, size_t heads, size_t head_dim,
                       size_t offset, const Tensor& cos, const Tensor& sin, bool interleaved) {
  with_type(dy, [&](auto zero) {
    using F = decltype(zero);
    const Math<F> math{work.k};
    const size_t half = cos.shape().back(), width = dy.shape().back();
    work.rows(dy.rows(), width, [&](size_t begin, size_t n) {
      std::vector<F> row(width), c(half), minus_s(half);
      for (size_t t = begin; t < begin + n; ++t) {
        for (size_t i = 0; i < half; ++i) {
          c[i] = static_cast<F>(cos.data<float>()[t * half + i]);
          minus_s[i] = -static_cast<F>(sin.data<float>()[t * half + i]);
        }
        std::copy_n(dy.data<F>() + t * width, width, row.data());
        math.rope(row.data() + offset, heads, head_dim, half, c.data(), minus_s.data(), interleaved);
        F* to = dx.data<F>() + t * width;
        math.add(to, to, row.data(), width);
      }
    });
  });
}

void cpu_route_backward(const CpuWork& work, const Tensor& dlogits, const Tensor& dgates, const Tensor& logits,
                        const Tensor& ids, const RouterConfig& config) {
  with_type(logits, [&](auto zero) {
    using F = decltype(zero);
    const size_t E = config.n_experts, k = config.top_k;
    work.rows(logits.rows(), E, [&](size_t begin, size_t n) {
      std::vector<F> scratch(route_scratch(config));
      for (size_t t = begin; t < begin + n; ++t)
        route_token_backward(Math<F>{work.k}, config, dlogits.data<F>() + t * E, dgates.data<F>() + t * k,
                             logits.data<F>() + t * E, ids.data<int32_t>() + t * k, scratch.data());
    });
  });
}

double cpu_balance_loss(const CpuWork& work, const Tensor& dlogits, const Tensor& logits,
                        std::span<const SequenceRows> sequences, const RouterConfig& config, double weight) {
  std::vector<double> losses(sequences.size());
  with_type(logits, [&](auto zero) {
    using F = decltype(zero);
    const size_t E = config.n_experts;
    work.pool.run(sequences.size(), [&](size_t i) {
      const SequenceRows& s = sequences[i];
      std::vector<F> scratch(route_scratch(config) + 2 * E);
      losses[i] =
          sequence_balance_loss(Math<F>{work.k}, config, dlogits.defined() ? dlogits.data<F>() + s.row * E : nullptr,
                                logits.data<F>() + s.row * E, s.rows, static_cast<F>(weight), scratch.data());
    });
  });
  double sum = 0;
  for (const double loss : losses) sum += loss;
  return sum;
}

void cpu_gather_rows_backward(const CpuWork& work, const Tensor& dx, const Tensor& dy, const Tensor& row_of_slot) {
  with_type(dx, [&](auto zero) {
    using F = decltype(zero);
    const size_t D = dx.shape().back(), k = row_of_slot.shape().back();
    work.rows(dx.rows(), D * k, [&](size_t begin, size_t n) {
      for (size_t slot = begin * k; slot < (begin + n) * k; ++slot) {
        F* to = dx.data<F>() + slot / k * D;
        Math<F>{work.k}.add(to, to, dy.data<F>() + static_cast<size_t>(row_of_slot.data<int32_t>()[slot]) * D, D);
      }
    });
  });
}

void cpu_combine_experts_backward(const CpuWork& work, const Tensor& df, const Tensor& dgates, const Tensor& dy,
                                  const Tensor& f, const Tensor& row_of_slot, const Tensor& gates) {
  with_type(dy, [&](auto zero) {
    using F = decltype(zero);
    const size_t D = dy.shape().back(), k = row_of_slot.shape().back();
    work.rows(dy.rows(), D * k, [&](size_t begin, size_t n) {
      for (size_t slot = begin * k; slot < (begin + n) * k; ++slot) {
        const size_t row = static_cast<size_t>(row_of_slot.data<int32_t>()[slot]);
        const F *d = dy.data<F>() + slot / k * D, *value = f.data<F>() + row * D;
        F sums[16] = {};
        for (size_t i = 0; i < D; ++i) sums[i % 16] += value[i] * d[i];
        dgates.data<F>()[slot] += ref::fold16(sums);
        Math<F>{work.k}.multiply_add(df.data<F>() + row * D, D, gates.data<F>() + slot, 1, 1, d, D, 1, D, 1);
      }
    });
  });
}

void cpu_log_probs(const CpuWork& work, const Tensor& out, const Tensor& logits, const Tensor& targets,
                   float temperature) {
  with_type(logits, [&](auto zero) {
    using F = decltype(zero);
    const size_t V = logits.shape().back();
    work.pool.run(logits.rows(), [&](size_t t) {
      F* l = logits.data<F>() + t * V;
      const int32_t target = targets.data<int32_t>()[t];
      if (target < 0) {
        out.data<F>()[t] = 0;
        return;
      }
      if (temperature != 1)
        for (size_t i = 0; i < V; ++i) l[i] /= static_cast<F>(temperature);
      out.data<F>()[t] = l[target] - Math<F>{work.k}.log_sum_exp(l, V);
    });
  });
}

void cpu_log_probs_backward(const CpuWork& work, const Tensor& scaled_logits, const Tensor& dlogp,
                            const Tensor& targets, float temperature) {
  with_type(scaled_logits, [&](auto zero) {
    using F = decltype(zero);
    const size_t V = scaled_logits.shape().back();
    work.pool.run(scaled_logits.rows(), [&](size_t t) {
      F* l = scaled_logits.data<F>() + t * V;
      const int32_t target = targets.data<int32_t>()[t];
      const F g = target < 0 ? F(0) : dlogp.data<F>()[t] / static_cast<F>(temperature);
      if (g == 0) {
        std::fill_n(l, V, F(0));
        return;
      }
      Math<F>{work.k}.exp_scaled(l, l, V, Math<F>{work.k}.log_sum_exp(l, V), -g);
      l[target] += g;
    });
  });
}

Tensor cpu_as_cached(const CpuWork& work, const Tensor& x, size_t heads, CacheType type) {
  if (type == CacheType::kF32 || x.dtype() == DType::kF64) return x;
  Tensor y = make_tensor(DType::kF32, x.shape());
  const size_t width = x.shape().back(), d = width / heads;
  work.rows(x.rows(), width, [&](size_t begin, size_t n) {
    std::vector<std::byte> page(kPagePositions * cache_bytes(type, d));
    std::byte* const pages[] = {page.data()};
    const KvPages kv{pages, 0, 0, type};
    for (size_t i = begin * heads; i < (begin + n) * heads; ++i) {
      const float* from = x.data<float>() + i * d;
      float* to = y.data<float>() + i * d;
      if (type == CacheType::kBF16) {
        for (size_t j = 0; j < d; ++j) to[j] = f32_from_bf16(bf16_from_f32(from[j]));
        continue;
      }
      work.k.store_latent(kv, 0, from, d);
      const auto* q = reinterpret_cast<const int8_t*>(page.data());
      for (size_t j = 0; j < d; ++j) {
        float scale;
        std::memcpy(&scale, page.data() + kPagePositions * d + 4 * (j / kCacheBlock), 4);
        to[j] = static_cast<float>(q[j]) * scale;
      }
    }
  });
  return y;
}

}  // namespace fathom
