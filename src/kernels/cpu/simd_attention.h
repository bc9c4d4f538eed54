// Attention for any S with sixteen f32 lanes (simd_avx2.h, simd_avx512.h), the order of spec/numerics.md 5: in GQA
// lanes run over positions for scores and over dimensions for values. S is private to the including file, so these
// templates are too. Pure functions, any thread.
#pragma once
#include <cstddef>
#include <cstdint>

#include "kernels/cpu/simd_cache.h"
#include "kernels/kernels.h"

namespace fathom::simd {

template <class S>
struct Attention {
  using V = typename S::V;
  static constexpr int kHeads = S::kAttentionHeads;  // that share one read of keys and values: accumulators at once

  static void run(float* out, const float* q, size_t group, size_t d, const KvPages& kv, size_t kv_head, size_t n,
                  float scale, float* scratch) {
    with_cache_type(kv.type, [&]<CacheType type>() {
      float* part = scratch;
      Head* heads = reinterpret_cast<Head*>(scratch + attention_part(group));
      for (size_t b = 0; b * kPagePositions < n; ++b) {
        const Block<type> block(kv, kv_head, d, n, b);
        weigh_block(part, q, group, d, block, scale);
        add_block(out, heads, part, group, d, block, b == 0, 0, d);
      }
      divide_all(out, heads, group, d, n == 0, 0, d);
    });
  }
  static void weights(float* parts, const float* q, size_t group, size_t d, const KvPages& kv, size_t kv_head, size_t n,
                      float scale, size_t begin, size_t end) {
    with_cache_type(kv.type, [&]<CacheType type>() {
      for (size_t b = begin; b < end; ++b)
        weigh_block(parts + b * attention_part(group), q, group, d, Block<type>(kv, kv_head, d, n, b), scale);
    });
  }
  static void values(float* out, const float* parts, size_t group, size_t d, const KvPages& kv, size_t kv_head,
                     size_t n, size_t begin, size_t end, float* scratch) {
    with_cache_type(kv.type, [&]<CacheType type>() {
      Head* heads = reinterpret_cast<Head*>(scratch);
      for (size_t b = 0; b * kPagePositions < n; ++b)
        add_block(out, heads, parts + b * attention_part(group), group, d, Block<type>(kv, kv_head, d, n, b), b == 0,
                  begin, end);
      divide_all(out, heads, group, d, n == 0, begin, end);
    });
  }

 private:
  /// What a head has summed up so far, and the factors that join it with the block at hand.
  struct Head {
    float m, l, keep, add;
  };

  /// One kv head's keys and values of 64 positions.
  template <CacheType type>
  struct Block {
    CacheKeys<S, type> keys;
    CacheRows<S, type> values;
    size_t count;

    Block(const KvPages& kv, size_t kv_head, size_t d, size_t n, size_t b)
        : count(n - b * kPagePositions < kPagePositions ? n - b * kPagePositions : kPagePositions) {
      const std::byte *page = kv.pages[b], *next = (b + 1) * kPagePositions < n ? kv.pages[b + 1] : page;
      const size_t at = kv_head * kPagePositions * cache_bytes(type, d);
      keys = {{page + kv.key_offset + at, d, next + kv.key_offset + at}};
      values = {{page + kv.value_offset + at, d, next + kv.value_offset + at}};
    }
  };

  /// Probabilities [group][64] of a block, the heads' maxima and their sums behind them: an attention_part.
  template <class Block>
  static void weigh_block(float* part, const float* q, size_t group, size_t d, const Block& block, float scale) {
    for_heads(group, [&]<int H>(size_t h) {
      score_panels<H>(part + h * kPagePositions, q + h * d, d, block.keys, block.count, scale);
    });
    float *m = part + group * kPagePositions, *l = m + group;
    for (size_t h = 0; h < group; ++h)
      block.count == kPagePositions ? softmax<true>(part + h * kPagePositions, m[h], l[h], block.count)
                                    : softmax<false>(part + h * kPagePositions, m[h], l[h], block.count);
  }

  /// Joins a block with those before, in components [begin, end) of each head.
  template <class Block>
  static void add_block(float* out, Head* heads, const float* part, size_t group, size_t d, const Block& block,
                        bool first, size_t begin, size_t end) {
    join(heads, part + group * kPagePositions, group, first);
    for_heads(group, [&]<int H>(size_t h) {
      sum_columns<H>(out + h * d, part + h * kPagePositions, heads + h, d, block.values, block.count, first, begin,
                     end);
    });
  }

  static void divide_all(float* out, const Head* heads, size_t group, size_t d, bool none, size_t begin, size_t end) {
    for (size_t h = 0; h < group; ++h) divide(out + h * d + begin, end - begin, none ? 1 : heads[h].l, none);
  }

  /// Calls f.template operator()<H>(first head) for the heads of a group, as many at once as there are accumulators.
  template <class F>
  static void for_heads(size_t group, const F& f) {
    for (size_t h = 0; h < group; h += kHeads)
      exactly<kHeads>(group - h, [&]<int H>() { f.template operator()<H>(h); });
  }
  /// f for min(n, Most).
  template <int Most, class F>
  static void exactly(size_t n, const F& f) {
    if constexpr (Most > 1)
      if (n < Most) return exactly<Most - 1>(n, f);
    f.template operator()<Most>();
  }
  /// Panels of positions, or vectors of dimensions, beside H heads: a power of two, for which accumulators are left.
  template <int H>
  static constexpr int beside() {
    return H == 1 ? 4 : kHeads / H >= 4 ? 4 : kHeads / H >= 2 ? 2 : 1;
  }

  // ---- scores: s[h][i] = (chain over j of q[h][j] * key[i][j]) * scale

  template <int H, class Keys>
  static void score_panels(float* s, const float* q, size_t d, const Keys& keys, size_t count, float scale) {
    constexpr int P = beside<H>();
    size_t panel = 0;
    const size_t panels = (count + 15) / 16;
    for (; panel + P <= panels; panel += P) score<H, P>(s + 16 * panel, q, d, keys, panel, scale);
    for (; panel < panels; ++panel) score<H, 1>(s + 16 * panel, q, d, keys, panel, scale);
  }

  /// H heads times P panels of 16 positions.
  template <int H, int P, class Keys>
  static void score(float* s, const float* q, size_t d, const Keys& keys, size_t panel, float scale) {
    V acc[H * P];
#pragma GCC unroll 16
    for (int i = 0; i < H * P; ++i) acc[i] = S::zero();
    for (size_t j = 0; j < d; ++j) {
      V k[P];
#pragma GCC unroll 8
      for (int p = 0; p < P; ++p) k[p] = keys.at(panel + static_cast<size_t>(p), j);
#pragma GCC unroll 8
      for (int h = 0; h < H; ++h) {
        const V qj = S::set1(q[static_cast<size_t>(h) * d + j]);
#pragma GCC unroll 8
        for (int p = 0; p < P; ++p) acc[h * P + p] = S::fma(qj, k[p], acc[h * P + p]);
      }
    }
#pragma GCC unroll 8
    for (int h = 0; h < H; ++h)
#pragma GCC unroll 8
      for (int p = 0; p < P; ++p)
        S::store(s + static_cast<size_t>(h) * kPagePositions + static_cast<size_t>(p) * 16,
                 S::mul(acc[h * P + p], S::set1(scale)));
  }

  // ---- softmax of the block, and the factors that join it with the blocks before

  template <bool whole>
  static void softmax(float* s, float& block_m, float& block_l, size_t count) {
    const size_t n = whole ? kPagePositions : count;
    const auto lanes_of = [&](size_t i, V v, V beyond) __attribute__((always_inline)) {
      return whole || n - i >= 16 ? v : S::select_n(n - i, v, beyond);
    };
    const V lowest = S::set1(-__builtin_inff());
    V largest = lowest;
#pragma GCC unroll 4
    for (size_t i = 0; i < n; i += 16) largest = S::max(lanes_of(i, S::load(s + i), lowest), largest);
    const float m = S::fold_max(largest);
    V sum = S::zero();
#pragma GCC unroll 4
    for (size_t i = 0; i < n; i += 16) {
      const V p = S::exp(S::sub(S::load(s + i), S::set1(m)));
      S::store(s + i, p);
      sum = S::add(sum, lanes_of(i, p, S::zero()));
    }
    block_m = m, block_l = S::fold(sum);
  }

  /// block_m: the maxima of a block, and its sums behind them.
  static void join(Head* heads, const float* block_m, size_t group, bool first) {
    const float* block_l = block_m + group;
    for (size_t begin = 0; begin < group; begin += 16) {
      const size_t n = group - begin < 16 ? group - begin : 16;
      alignas(64) float keep[16] = {}, add[16] = {};
      for (size_t i = 0; i < n; ++i) {
        Head& h = heads[begin + i];
        const float m = block_m[begin + i], both = first || m > h.m ? m : h.m;
        keep[i] = first ? 0 : h.m - both;
        add[i] = m - both;
        h.m = both;
      }
      S::store(keep, S::exp(S::load(keep)));
      S::store(add, S::exp(S::load(add)));
      for (size_t i = 0; i < n; ++i) {
        Head& h = heads[begin + i];
        h.l = first ? block_l[begin + i] : h.l * keep[i] + block_l[begin + i] * add[i];
        h.keep = keep[i], h.add = add[i];
      }
    }
  }

  // ---- values: o[h][j] = chain over i of p[h][i] * value[i][j], joined with the blocks before

  template <int H, class Values>
  static void sum_columns(float* out, const float* p, const Head* heads, size_t d, const Values& values, size_t count,
                          bool first, size_t begin, size_t end) {
    constexpr int C = beside<H>();
    size_t j = begin;
    for (; j + 16 * C <= end; j += 16 * C) sum<H, C>(out + j, p, heads, d, values, j, count, first, 16);
    for (; j + 16 <= end; j += 16) sum<H, 1>(out + j, p, heads, d, values, j, count, first, 16);
    if (j < end) sum<H, 1>(out + j, p, heads, d, values, j, count, first, end - j);
  }

  /// H heads times C vectors of dimensions; with C = 1 only the first `lanes` dimensions exist.
  template <int H, int C, class Values>
  static void sum(float* out, const float* p, const Head* heads, size_t d, const Values& values, size_t begin,
                  size_t count, bool first, size_t lanes) {
    V acc[H * C];
#pragma GCC unroll 16
    for (int i = 0; i < H * C; ++i) acc[i] = S::zero();
    const auto step = [&](size_t i, const V(&v)[C]) __attribute__((always_inline)) {
#pragma GCC unroll 8
      for (int h = 0; h < H; ++h) {
        const V weight = S::set1(p[static_cast<size_t>(h) * kPagePositions + i]);
#pragma GCC unroll 8
        for (int c = 0; c < C; ++c) acc[h * C + c] = S::fma(weight, v[c], acc[h * C + c]);
      }
    };
    for (size_t i = 0; i < count; ++i) {
      V v[C];
      if constexpr (C > 1) {
#pragma GCC unroll 8
        for (int c = 0; c < C; ++c) v[c] = values.at(i, begin + static_cast<size_t>(c) * 16);
      } else {
        v[0] = values.at(i, begin, lanes);
      }
      step(i, v);
    }
#pragma GCC unroll 8
    for (int h = 0; h < H; ++h)
#pragma GCC unroll 8
      for (int c = 0; c < C; ++c) {
        float* o = out + static_cast<size_t>(h) * d + static_cast<size_t>(c) * 16;
        V result = acc[h * C + c];
        if (!first) {
          const V before = lanes == 16 ? S::load(o) : S::load_n(o, lanes);
          result = S::add(S::mul(before, S::set1(heads[h].keep)), S::mul(result, S::set1(heads[h].add)));
        }
        lanes == 16 ? S::store(o, result) : S::store_n(o, result, lanes);
      }
  }

  static void divide(float* out, size_t d, float l, bool none) {
    for (size_t j = 0; j < d; j += 16) {
      const size_t n = d - j < 16 ? d - j : 16;
      S::store_n(out + j, none ? S::zero() : S::div(S::load_n(out + j, n), S::set1(l)), n);
    }
  }
};

}  // namespace fathom::simd
