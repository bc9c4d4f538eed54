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
      const Group g = group(latent, rope, scratch);
      float* part = scratch + 16 * (2 * latent + rope);
      transpose_in(g, q + h * g.width, lanes);
      Running running = {S::zero(), S::zero(), S::zero(), S::zero()};
      with_cache_type(kv.type, [&]<CacheType type>() {
        for (size_t b = 0; b * kPagePositions < n; ++b) {
          const Block<type> block(kv, g.width, n, b);
          weigh_block(part, g, block, scale);
          add_block(g, running, part, block, b == 0, 0, latent);
        }
      });
      transpose_out(g, out + h * latent, running.l, lanes, n == 0, 0, latent);
    }
  }
  static void weights(float* parts, const float* q, size_t heads, size_t latent, size_t rope, const KvPages& kv,
                      size_t n, float scale, size_t begin, size_t end, float* scratch) {
    const Group g = group(latent, rope, scratch);
    transpose_in(g, q, heads);
    with_cache_type(kv.type, [&]<CacheType type>() {
      for (size_t b = begin; b < end; ++b)
        weigh_block(parts + b * attention_part(16), g, Block<type>(kv, g.width, n, b), scale);
    });
  }
  static void values(float* out, const float* parts, size_t heads, size_t latent, size_t rope, const KvPages& kv,
                     size_t n, size_t begin, size_t end, float* scratch) {
    const Group g = group(latent, rope, scratch);
    Running running = {S::zero(), S::zero(), S::zero(), S::zero()};
    with_cache_type(kv.type, [&]<CacheType type>() {
      for (size_t b = 0; b * kPagePositions < n; ++b)
        add_block(g, running, parts + b * attention_part(16), Block<type>(kv, g.width, n, b), b == 0, begin, end);
    });
    transpose_out(g, out, running.l, heads, n == 0, begin, end);
  }

 private:
  /// 16 heads: queries q[width][16], outputs o[latent][16].
  struct Group {
    size_t latent, width;
    float *q, *o;
  };
  static Group group(size_t latent, size_t rope, float* scratch) {
    return {latent, latent + rope, scratch, scratch + 16 * (latent + rope)};
  }
  /// Per head: maximum and denominator so far, and the factors of the block at hand.
  struct Running {
    V m, l, keep, add;
  };
  /// The latent rows of 64 positions.
  template <CacheType type>
  struct Block {
    CacheRows<S, type> rows;
    size_t count;

    Block(const KvPages& kv, size_t width, size_t n, size_t b)
        : count(n - b * kPagePositions < kPagePositions ? n - b * kPagePositions : kPagePositions) {
      const std::byte *page = kv.pages[b], *next = (b + 1) * kPagePositions < n ? kv.pages[b + 1] : page;
      rows = {{page + kv.key_offset, width, next + kv.key_offset}};
    }
  };

  static void transpose_in(const Group& g, const float* q, size_t lanes) {
    for (size_t j = 0; j < g.width; ++j)
      for (size_t r = 0; r < 16; ++r) g.q[j * 16 + r] = r < lanes ? q[r * g.width + j] : 0;
  }

  static void transpose_out(const Group& g, float* out, V l, size_t lanes, bool none, size_t begin, size_t end) {
    float column[16];
    for (size_t j = begin; j < end; ++j) {
      S::store(column, none ? S::zero() : S::div(S::load(g.o + 16 * j), l));
      for (size_t r = 0; r < lanes; ++r) out[r * g.latent + j] = column[r];
    }
  }

  /// Probabilities p[64][16] of a block, the heads' maxima and their sums behind them: an attention_part.
  template <class Block>
  static void weigh_block(float* part, const Group& g, const Block& block, float scale) {
    size_t i = 0;
    for (; i + kTile <= block.count; i += kTile) score<kTile>(part, g, block.rows, i, scale);
    for (; i < block.count; ++i) score<1>(part, g, block.rows, i, scale);
    softmax(part, block.count);
  }

  /// Joins a block with those before, in components [begin, end).
  template <class Block>
  static void add_block(const Group& g, Running& run, const float* part, const Block& block, bool first, size_t begin,
                        size_t end) {
    join(run, part, first);
    for (size_t j = begin; j < end; j += 16)
      sum_columns(g, run, part, block.rows, block.count, j, end - j < 16 ? end - j : 16, first);
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
  static void score(float* part, const Group& g, const Rows& rows, size_t i, float scale) {
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
    for (int p = 0; p < P; ++p) S::store(part + (i + static_cast<size_t>(p)) * 16, S::mul(acc[p], S::set1(scale)));
  }

  static void softmax(float* part, size_t count) {
    V m = S::set1(-__builtin_inff());
    for (size_t i = 0; i < count; ++i) m = S::max(S::load(part + 16 * i), m);
    V partial[16];
    for (V& s : partial) s = S::zero();
    for (size_t i = 0; i < count; ++i) {
      const V e = S::exp(S::sub(S::load(part + 16 * i), m));
      S::store(part + 16 * i, e);
      partial[i % 16] = S::add(partial[i % 16], e);
    }
    for (size_t step = 8; step >= 1; step /= 2)
      for (size_t j = 0; j < step; ++j) partial[j] = S::add(partial[j], partial[j + step]);
    S::store(part + 16 * kPagePositions, m);
    S::store(part + 16 * (kPagePositions + 1), partial[0]);
  }

  static void join(Running& run, const float* part, bool first) {
    const V m = S::load(part + 16 * kPagePositions), l = S::load(part + 16 * (kPagePositions + 1));
    if (first) {
      run = {m, l, S::zero(), S::zero()};
      return;
    }
    const V both = S::max(m, run.m);
    run.keep = S::exp(S::sub(run.m, both));
    run.add = S::exp(S::sub(m, both));
    run.l = S::add(S::mul(run.l, run.keep), S::mul(l, run.add));
    run.m = both;
  }

  /// Components [j, j + n), at most 16, of the values of 16 heads.
  template <class Rows>
  static void sum_columns(const Group& g, const Running& run, const float* part, const Rows& rows, size_t count,
                          size_t j, size_t n, bool first) {
    alignas(64) float buffer[kPagePositions][16];
    for (size_t i = 0; i < count; ++i) S::store(buffer[i], rows.at(i, j, n));
    size_t c = 0;
    for (; c + kTile <= n; c += kTile) sum<kTile>(g, run, part, &buffer[0][c], count, j + c, first);
    for (; c < n; ++c) sum<1>(g, run, part, &buffer[0][c], count, j + c, first);
  }

  template <int C>
  static void sum(const Group& g, const Running& run, const float* part, const float* values, size_t count, size_t j,
                  bool first) {
    V acc[C];
#pragma GCC unroll 16
    for (int c = 0; c < C; ++c) acc[c] = S::zero();
    for (size_t i = 0; i < count; ++i) {
      const V p = S::load(part + 16 * i);
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
