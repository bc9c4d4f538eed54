// Absorbed multi-head latent attention for any S with sixteen f32 lanes, the order of spec/numerics.md 5: lanes run
// over heads, 16 at a time, and one read of a latent row serves the scores and the values. Queries and outputs are
// turned to [component][head] in scratch. S is private to the including file. Pure functions, any thread.
#pragma once
#include <cstddef>
#include <cstdint>

#include "kernels/cpu/simd_cache.h"
#include "kernels/kernels.h"

namespace fathom::simd {

template <class S>
struct AttentionMla {
  using V = typename S::V;
  static constexpr int kTile = S::kTile;
  static constexpr size_t kChunk = 64;  // components widened to f32 at once

  static void run(float* out, const float* q, size_t heads, size_t latent, size_t rope, const KvPages& kv, size_t n,
                  float scale, float* scratch) {
    for (size_t h = 0; h < heads; h += 16) {
      const size_t lanes = heads - h < 16 ? heads - h : 16;
      const Group g = {
          latent, latent + rope, scale, scratch, scratch + 16 * (latent + rope), scratch + 16 * (2 * latent + rope)};
      transpose_in(g, q + h * g.width, lanes);
      with_cache_type(kv.type, [&]<CacheType type>() { pages<type>(g, kv, n); });
      transpose_out(g, out + h * latent, lanes, n == 0);
    }
  }

 private:
  /// 16 heads: queries q[width][16], outputs o[latent][16], probabilities p[64][16] with the sums behind them.
  struct Group {
    size_t latent, width;
    float scale;
    float *q, *o, *p;
    float* denominator() const { return p + 16 * kPagePositions; }
  };
  /// Per head: maximum and denominator so far, and the factors of the block at hand.
  struct Running {
    V m, l, keep, add;
  };

  static void transpose_in(const Group& g, const float* q, size_t lanes) {
    for (size_t j = 0; j < g.width; ++j)
      for (size_t r = 0; r < 16; ++r) g.q[j * 16 + r] = r < lanes ? q[r * g.width + j] : 0;
  }

  static void transpose_out(const Group& g, float* out, size_t lanes, bool none) {
    const V l = S::load(g.denominator());
    float column[16];
    for (size_t j = 0; j < g.latent; ++j) {
      S::store(column, none ? S::zero() : S::div(S::load(g.o + 16 * j), l));
      for (size_t r = 0; r < lanes; ++r) out[r * g.latent + j] = column[r];
    }
  }

  template <CacheType type>
  static void pages(const Group& g, const KvPages& kv, size_t n) {
    Running run = {S::zero(), S::zero(), S::zero(), S::zero()};
    for (size_t begin = 0; begin < n; begin += kPagePositions) {
      const size_t count = n - begin < kPagePositions ? n - begin : kPagePositions;
      const std::byte* const* page = kv.pages + begin / kPagePositions;
      const std::byte* next = begin + kPagePositions < n ? page[1] : page[0];
      const CacheRows<S, type> rows{{page[0] + kv.key_offset, g.width, next + kv.key_offset}};
      size_t i = 0;
      for (; i + kTile <= count; i += kTile) score<kTile>(g, rows, i);
      for (; i < count; ++i) score<1>(g, rows, i);
      join(run, g.p, count, begin == 0);
      for (size_t j = 0; j < g.latent; j += 16) sum_columns(g, run, rows, count, j, begin == 0);
    }
    S::store(g.denominator(), run.l);
  }

  /// Components [begin, begin + n) of row i as f32: in place, or in the buffer [kChunk].
  static const float* widen(float*, const CacheRows<S, CacheType::kF32>& rows, size_t i, size_t begin, size_t) {
    return reinterpret_cast<const float*>(rows.bytes) + i * rows.d + begin;
  }
  template <CacheType type>
  static const float* widen(float* buffer, const CacheRows<S, type>& rows, size_t i, size_t begin, size_t n) {
    for (size_t j = 0; j < n; j += 16) S::store(buffer + j, rows.at(i, begin + j, n - j < 16 ? n - j : 16));
    return buffer;
  }

  /// Scores of P positions from i on, 16 heads: one chain over the row's components.
  template <int P, class Rows>
  static void score(const Group& g, const Rows& rows, size_t i) {
    V acc[P];
#pragma GCC unroll 16
    for (int p = 0; p < P; ++p) acc[p] = S::zero();
    alignas(64) float buffer[P][kChunk];
    for (size_t begin = 0; begin < g.width; begin += kChunk) {
      const size_t n = g.width - begin < kChunk ? g.width - begin : kChunk;
      const float* row[P];
#pragma GCC unroll 16
      for (int p = 0; p < P; ++p) row[p] = widen(buffer[p], rows, i + static_cast<size_t>(p), begin, n);
      for (size_t j = 0; j < n; ++j) {
        const V q = S::load(g.q + (begin + j) * 16);
#pragma GCC unroll 16
        for (int p = 0; p < P; ++p) acc[p] = S::fma(q, S::set1(row[p][j]), acc[p]);
      }
    }
#pragma GCC unroll 16
    for (int p = 0; p < P; ++p) S::store(g.p + (i + static_cast<size_t>(p)) * 16, S::mul(acc[p], S::set1(g.scale)));
  }

  static void join(Running& run, float* p, size_t count, bool first) {
    V m = S::set1(-__builtin_inff());
    for (size_t i = 0; i < count; ++i) m = S::max(S::load(p + 16 * i), m);
    V partial[16];
    for (V& s : partial) s = S::zero();
    for (size_t i = 0; i < count; ++i) {
      const V e = S::exp(S::sub(S::load(p + 16 * i), m));
      S::store(p + 16 * i, e);
      partial[i % 16] = S::add(partial[i % 16], e);
    }
    for (size_t step = 8; step >= 1; step /= 2)
      for (size_t j = 0; j < step; ++j) partial[j] = S::add(partial[j], partial[j + step]);
    if (first) {
      run = {m, partial[0], S::zero(), S::zero()};
      return;
    }
    const V both = S::max(m, run.m);
    run.keep = S::exp(S::sub(run.m, both));
    run.add = S::exp(S::sub(m, both));
    run.l = S::add(S::mul(run.l, run.keep), S::mul(partial[0], run.add));
    run.m = both;
  }

  /// Components [j, j + 16) of the values of 16 heads.
  template <class Rows>
  static void sum_columns(const Group& g, const Running& run, const Rows& rows, size_t count, size_t j, bool first) {
    const size_t n = g.latent - j < 16 ? g.latent - j : 16;
    alignas(64) float buffer[kPagePositions][16];
    for (size_t i = 0; i < count; ++i) S::store(buffer[i], rows.at(i, j, n));
    size_t c = 0;
    for (; c + kTile <= n; c += kTile) sum<kTile>(g, run, &buffer[0][c], count, j + c, first);
    for (; c < n; ++c) sum<1>(g, run, &buffer[0][c], count, j + c, first);
  }

  template <int C>
  static void sum(const Group& g, const Running& run, const float* values, size_t count, size_t j, bool first) {
    V acc[C];
#pragma GCC unroll 16
    for (int c = 0; c < C; ++c) acc[c] = S::zero();
    for (size_t i = 0; i < count; ++i) {
      const V p = S::load(g.p + 16 * i);
#pragma GCC unroll 16
      for (int c = 0; c < C; ++c) acc[c] = S::fma(p, S::set1(values[16 * i + static_cast<size_t>(c)]), acc[c]);
    }
#pragma GCC unroll 16
    for (int c = 0; c < C; ++c) {
      float* o = g.o + 16 * (j + static_cast<size_t>(c));
      S::store(o, first ? acc[c] : S::add(S::mul(S::load(o), run.keep), S::mul(acc[c], run.add)));
    }
  }
};

}  // namespace fathom::simd
