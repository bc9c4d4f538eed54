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
    with_cache_type(kv.type, [&]<CacheType type>() { pages<type>(out, q, group, d, kv, kv_head, n, scale, scratch); });
  }

 private:
  /// What a head has summed up so far, the block's own maximum and sum, and the factors that join the two.
  struct Head {
    float m, l, block_m, block_l, keep, add;
  };

  template <CacheType type>
  static void pages(float* out, const float* q, size_t group, size_t d, const KvPages& kv, size_t kv_head, size_t n,
                    float scale, float* scratch) {
    float* s = scratch;                                                       // [group, 64]
    Head* heads = reinterpret_cast<Head*>(scratch + group * kPagePositions);  // [group]
    for (size_t begin = 0; begin < n; begin += kPagePositions) {
      const size_t count = n - begin < kPagePositions ? n - begin : kPagePositions;
      const std::byte* page = kv.pages[begin / kPagePositions];
      const std::byte* next = begin + kPagePositions < n ? kv.pages[begin / kPagePositions + 1] : page;
      const size_t at = kv_head * kPagePositions * cache_bytes(type, d);
      const CacheKeys<S, type> keys{{page + kv.key_offset + at, d, next + kv.key_offset + at}};
      const CacheRows<S, type> values{{page + kv.value_offset + at, d, next + kv.value_offset + at}};
      for_heads(group,
                [&]<int H>(size_t h) { score_panels<H>(s + h * kPagePositions, q + h * d, d, keys, count, scale); });
      for (size_t h = 0; h < group; ++h)
        count == kPagePositions ? weigh<true>(heads[h], s + h * kPagePositions, count)
                                : weigh<false>(heads[h], s + h * kPagePositions, count);
      join(heads, group, begin == 0);
      for_heads(group, [&]<int H>(size_t h) {
        sum_columns<H>(out + h * d, s + h * kPagePositions, heads + h, d, values, count, begin == 0);
      });
    }
    for (size_t h = 0; h < group; ++h) divide(out + h * d, d, n == 0 ? 1 : heads[h].l, n == 0);
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
  static void weigh(Head& head, float* s, size_t count) {
    const size_t n = whole ? kPagePositions : count;
    const auto lanes_of = [&](size_t i, V v, V beyond) __attribute__((always_inline)) {
      return whole || n - i >= 16 ? v : S::select_n(n - i, v, beyond);
    };
    const V lowest = S::set1(-__builtin_inff());
    V largest = lowest;
#pragma GCC unroll 4
    for (size_t i = 0; i < n; i += 16) largest = S::max(lanes_of(i, S::load(s + i), lowest), largest);
    head.block_m = S::fold_max(largest);
    V sum = S::zero();
#pragma GCC unroll 4
    for (size_t i = 0; i < n; i += 16) {
      const V p = S::exp(S::sub(S::load(s + i), S::set1(head.block_m)));
      S::store(s + i, p);
      sum = S::add(sum, lanes_of(i, p, S::zero()));
    }
    head.block_l = S::fold(sum);
  }

  static void join(Head* heads, size_t group, bool first) {
    for (size_t begin = 0; begin < group; begin += 16) {
      const size_t n = group - begin < 16 ? group - begin : 16;
      alignas(64) float keep[16] = {}, add[16] = {};
      for (size_t i = 0; i < n; ++i) {
        Head& h = heads[begin + i];
        const float both = first || h.block_m > h.m ? h.block_m : h.m;
        keep[i] = first ? 0 : h.m - both;
        add[i] = h.block_m - both;
        h.m = both;
      }
      S::store(keep, S::exp(S::load(keep)));
      S::store(add, S::exp(S::load(add)));
      for (size_t i = 0; i < n; ++i) {
        Head& h = heads[begin + i];
        h.l = first ? h.block_l : h.l * keep[i] + h.block_l * add[i];
        h.keep = keep[i], h.add = add[i];
      }
    }
  }

  // ---- values: o[h][j] = chain over i of p[h][i] * value[i][j], joined with the blocks before

  template <int H, class Values>
  static void sum_columns(float* out, const float* p, const Head* heads, size_t d, const Values& values, size_t count,
                          bool first) {
    constexpr int C = beside<H>();
    size_t j = 0;
    for (; j + 16 * C <= d; j += 16 * C) sum<H, C>(out + j, p, heads, d, values, j, count, first, 16);
    for (; j + 16 <= d; j += 16) sum<H, 1>(out + j, p, heads, d, values, j, count, first, 16);
    if (j < d) sum<H, 1>(out + j, p, heads, d, values, j, count, first, d - j);
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
