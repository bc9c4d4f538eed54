#include "kernels/cpu/attention.h"

#include <algorithm>

namespace fathom {
namespace {

constexpr size_t kLatentHeads = 16;       // the lanes of attention over latents
constexpr size_t kSharedPositions = 512;  // from here on two passes over the pool cost less than idle threads
constexpr size_t kColumns = 32;           // that a thread takes at least: a line of bf16 values

/// Calls f(unit) for every row of every sequence and `parts` parts of its heads.
template <class F>
void for_each_unit(ThreadPool& pool, std::span<const SequenceRows> sequences, size_t parts, const F& f) {
  size_t total = 0;
  for (const SequenceRows& s : sequences) total += s.rows;
  pool.run(total * parts, [&](size_t i) {
    size_t row = i / parts;
    for (const SequenceRows& s : sequences) {
      if (row < s.rows) return f(AttentionUnit{&s, row, i % parts, 0});
      row -= s.rows;
    }
  });
}

/// Whether threads would have nothing to do while others walk through long contexts.
bool share(const ThreadPool& pool, std::span<const SequenceRows> sequences, size_t parts) {
  size_t units = 0, longest = 0;
  for (const SequenceRows& s : sequences) units += s.rows * parts, longest = std::max(longest, s.position + s.rows);
  return units != 0 && units < pool.size() && longest >= kSharedPositions;
}

/// Calls weigh(unit, weights, begin, end) for the blocks of all units, then sum(unit, weights, begin, end) for their
/// `columns` components: the order of no sum depends on who computes it.
template <class Weigh, class Sum>
void in_two_passes(ThreadPool& pool, SharedAttention& shared, std::span<const SequenceRows> sequences, size_t parts,
                   size_t heads, size_t columns, const Weigh& weigh, const Sum& sum) {
  shared.units.clear();
  size_t total = 0;
  for (const SequenceRows& s : sequences)
    for (size_t i = 0; i < s.rows * parts; ++i) {
      const AttentionUnit& unit = shared.units.emplace_back(AttentionUnit{&s, i / parts, i % parts, total});
      total += unit.blocks() * attention_part(heads);
    }
  if (shared.weights.size() < total) shared.weights.resize(std::max(total, 2 * shared.weights.size()));
  const size_t units = shared.units.size(), cuts = pieces(2 * pool.size(), units);
  const size_t lines = pieces(columns, kColumns), sums = std::min(cuts, lines);
  pool.run(units * cuts, [&](size_t i) {
    const AttentionUnit& unit = shared.units[i / cuts];
    const size_t n = unit.blocks(), piece = i % cuts, begin = n * piece / cuts, end = n * (piece + 1) / cuts;
    if (begin < end) weigh(unit, shared.weights.data() + unit.at, begin, end);
  });
  pool.run(units * sums, [&](size_t i) {
    const AttentionUnit& unit = shared.units[i / sums];
    const size_t piece = i % sums, begin = lines * piece / sums * kColumns, end = lines * (piece + 1) / sums * kColumns;
    sum(unit, shared.weights.data() + unit.at, begin, std::min(end, columns));
  });
}

}  // namespace

void cpu_attention(const CpuWork& work, SharedAttention& shared, const Tensor& out, const Tensor& q,
                   std::span<const SequenceRows> sequences, const LayerCache& layer, size_t heads, size_t kv_heads,
                   float scale) {
  const size_t width = q.shape().back(), d = width / heads, group = heads / kv_heads;
  const auto at_row = [&](const AttentionUnit& u) { return (u.sequence->row + u.row) * width + u.part * group * d; };
  const auto pages = [&](const AttentionUnit& u) {
    return KvPages{u.sequence->pages, layer.key_offset, layer.value_offset, layer.type};
  };
  const auto* queries = q.data<float>();
  auto* y = out.data<float>();
  if (!share(work.pool, sequences, kv_heads))
    return for_each_unit(work.pool, sequences, kv_heads, [&](const AttentionUnit& u) {
      work.k.attention(y + at_row(u), queries + at_row(u), group, d, pages(u), u.part, u.positions(), scale,
                       thread_scratch(attention_scratch(group, d)));
    });
  in_two_passes(
      work.pool, shared, sequences, kv_heads, group, d,
      [&](const AttentionUnit& u, float* weights, size_t begin, size_t end) {
        work.k.attention_weights(weights, queries + at_row(u), group, d, pages(u), u.part, u.positions(), scale, begin,
                                 end);
      },
      [&](const AttentionUnit& u, const float* weights, size_t begin, size_t end) {
        work.k.attention_values(y + at_row(u), weights, group, d, pages(u), u.part, u.positions(), begin, end,
                                thread_scratch(attention_scratch(group, d)));
      });
}

void cpu_attention_mla(const CpuWork& work, SharedAttention& shared, const Tensor& out, const Tensor& q,
                       std::span<const SequenceRows> sequences, const LayerCache& layer, size_t heads, size_t latent,
                       float scale) {
  const size_t width = q.shape().back() / heads, rope = width - latent;
  const size_t parts = pieces(heads, kLatentHeads);
  const auto head_of = [&](const AttentionUnit& u) {
    return (u.sequence->row + u.row) * heads + u.part * kLatentHeads;
  };
  const auto heads_in = [&](const AttentionUnit& u) { return std::min(kLatentHeads, heads - u.part * kLatentHeads); };
  const auto pages = [&](const AttentionUnit& u) {
    return KvPages{u.sequence->pages, layer.key_offset, layer.value_offset, layer.type};
  };
  const auto* queries = q.data<float>();
  auto* y = out.data<float>();
  const auto scratch = [&] { return thread_scratch(attention_mla_scratch(kLatentHeads, latent, rope)); };
  if (!share(work.pool, sequences, parts))
    return for_each_unit(work.pool, sequences, parts, [&](const AttentionUnit& u) {
      work.k.attention_mla(y + head_of(u) * latent, queries + head_of(u) * width, heads_in(u), latent, rope, pages(u),
                           u.positions(), scale, scratch());
    });
  in_two_passes(
      work.pool, shared, sequences, parts, kLatentHeads, latent,
      [&](const AttentionUnit& u, float* weights, size_t begin, size_t end) {
        work.k.attention_mla_weights(weights, queries + head_of(u) * width, heads_in(u), latent, rope, pages(u),
                                     u.positions(), scale, begin, end, scratch());
      },
      [&](const AttentionUnit& u, const float* weights, size_t begin, size_t end) {
        work.k.attention_mla_values(y + head_of(u) * latent, weights, heads_in(u), latent, rope, pages(u),
                                    u.positions(), begin, end, scratch());
      });
}

}  // namespace fathom
