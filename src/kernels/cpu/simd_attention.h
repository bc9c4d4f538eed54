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
  static constexpr int kTile = S::kTile;  // vectors of accumulators at once

  static void run(float* out, const float* q, size_t group, size_t d, const KvPages& kv, size_t kv_head, size_t n,
                  float scale, float* scratch) {
    with_cache_type(kv.type, [&]<CacheType type>() { pages<type>(out, q, group, d, kv, kv_head, n, scale, scratch); });
  }

 private:
  /// What a head has summed up so far, and the factors of the block at hand.
  struct Head {
    float m, l, keep, add;
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
      for (size_t h = 0; h < group;)
        h += score_some(s + h * kPagePositions, q + h * d, group - h, d, keys, count, scale);
      for (size_t h = 0; h < group; ++h) join(heads[h], s + h * kPagePositions, count, begin == 0);
      for (size_t h = 0; h < group;)
        h += sum_some(out + h * d, s + h * kPagePositions, heads + h, group - h, d, values, count, begin == 0);
    }
    for (size_t h = 0; h < group; ++h) divide(out + h * d, d, n == 0 ? 1 : heads[h].l, n == 0);
  }

  // ---- scores: s[h][i] = (chain over j of q[h][j] * key[i][j]) * scale

  /// Scores of as many heads as fit into the registers; returns how many.
  template <class Keys>
  static size_t score_some(float* s, const float* q, size_t heads, size_t d, const Keys& keys, size_t count,
                           float scale) {
    if constexpr (kTile >= 8)
      if (heads >= 8) return score_panels<8, 1>(s, q, d, keys, count, scale);
    if (heads >= 4) return score_panels<4, kTile / 4>(s, q, d, keys, count, scale);
    if (heads >= 2) return score_panels<2, kTile / 4 * 2>(s, q, d, keys, count, scale);
    return score_panels<1, 4>(s, q, d, keys, count, scale);
  }

  template <int H, int P, class Keys>
  static size_t score_panels(float* s, const float* q, size_t d, const Keys& keys, size_t count, float scale) {
    size_t panel = 0;
    const size_t panels = (count + 15) / 16;
    for (; panel + P <= panels; panel += P) score<H, P>(s + 16 * panel, q, d, keys, panel, scale);
    for (; panel < panels; ++panel) score<H, 1>(s + 16 * panel, q, d, keys, panel, scale);
    return H;
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

  static float exp1(float x) {
    float y[16];
    S::store(y, S::exp(S::set1(x)));
    return y[0];
  }

  static void join(Head& head, float* s, size_t count, bool first) {
    const V lowest = S::set1(-__builtin_inff());
    V largest = lowest;
    for (size_t i = 0; i < count; i += 16)
      largest = S::max(S::select_n(count - i < 16 ? count - i : 16, S::load(s + i), lowest), largest);
    const float m = S::fold_max(largest);
    V sum = S::zero();
    for (size_t i = 0; i < count; i += 16) {
      const V p = S::exp(S::sub(S::load(s + i), S::set1(m)));
      S::store(s + i, p);
      sum = S::add(sum, S::select_n(count - i < 16 ? count - i : 16, p, S::zero()));
    }
    const float l = S::fold(sum);
    if (first) {
      head = {m, l, 0, 1};
      return;
    }
    const float both = m > head.m ? m : head.m;
    head.keep = exp1(head.m - both);
    head.add = exp1(m - both);
    head.l = head.l * head.keep + l * head.add;
    head.m = both;
  }

  // ---- values: o[h][j] = chain over i of p[h][i] * value[i][j], joined with the blocks before

  template <class Values>
  static size_t sum_some(float* out, const float* p, const Head* heads, size_t left, size_t d, const Values& values,
                         size_t count, bool first) {
    if constexpr (kTile >= 8)
      if (left >= 8) return sum_columns<8, 1>(out, p, heads, d, values, count, first);
    if (left >= 4) return sum_columns<4, kTile / 4>(out, p, heads, d, values, count, first);
    if (left >= 2) return sum_columns<2, kTile / 4 * 2>(out, p, heads, d, values, count, first);
    return sum_columns<1, 4>(out, p, heads, d, values, count, first);
  }

  template <int H, int C, class Values>
  static size_t sum_columns(float* out, const float* p, const Head* heads, size_t d, const Values& values, size_t count,
                            bool first) {
    size_t j = 0;
    for (; j + 16 * C <= d; j += 16 * C) sum<H, C>(out + j, p, heads, d, values, j, count, first, 16);
    for (; j + 16 <= d; j += 16) sum<H, 1>(out + j, p, heads, d, values, j, count, first, 16);
    if (j < d) sum<H, 1>(out + j, p, heads, d, values, j, count, first, d - j);
    return H;
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
        if (!first)
          result = S::add(S::mul(S::load_n(o, lanes), S::set1(heads[h].keep)), S::mul(result, S::set1(heads[h].add)));
        S::store_n(o, result, lanes);
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
