// One query head over blocks of 64 positions (spec/numerics.md 5), whatever the number type and wherever keys and
// values lie. Pure functions, any thread. Source: arXiv:1805.02867 (the running maximum and denominator).
#pragma once
#include <algorithm>
#include <cmath>
#include <cstddef>

#include "kernels/kernels.h"
#include "kernels/ref/rows.h"

namespace fathom::ref {

/// What a head has summed up so far.
template <class F>
struct Running {
  F m = 0, l = 0;
  bool empty = true;
};

/// Maximum of a block's scores and the sum of their exponentials.
template <class F>
struct BlockSums {
  F m, l;
};

/// Probabilities s[count] of block `block` for the query q[key_width]. key(block, i, j): component j of key i.
template <class F, class Key>
BlockSums<F> weigh_block(F* s, const F* q, size_t key_width, size_t block, size_t count, F scale, const Key& key) {
  for (size_t i = 0; i < count; ++i) {
    F acc = 0;
    for (size_t j = 0; j < key_width; ++j) acc = std::fma(q[j], key(block, i, j), acc);
    s[i] = acc * scale;
  }
  const F m = row_max(s, count);
  for (size_t i = 0; i < count; ++i) s[i] = exp(s[i] - m);
  return {m, row_sum(s, count)};
}

/// Joins a block with those before, for components [begin, end) of out. value(block, i, j): as key.
template <class F, class Value>
void add_block(Running<F>& run, F* out, const F* s, const BlockSums<F>& sums, size_t block, size_t count, size_t begin,
               size_t end, const Value& value) {
  const bool first = run.empty;
  const F both = first || sums.m > run.m ? sums.m : run.m;
  const F fa = first ? F(0) : exp(run.m - both), fb = first ? F(1) : exp(sums.m - both);
  run = {both, first ? sums.l : run.l * fa + sums.l * fb, false};
  for (size_t j = begin; j < end; ++j) {
    F o = 0;
    for (size_t i = 0; i < count; ++i) o = std::fma(s[i], value(block, i, j), o);
    out[j] = first ? o : out[j] * fa + o * fb;
  }
}

template <class F>
void divide(const Running<F>& run, F* out, size_t begin, size_t end) {
  for (size_t j = begin; j < end; ++j) out[j] = run.empty ? F(0) : out[j] / run.l;
}

/// out[d] of the query q[key_width] over positions [0, n).
template <class F, class Key, class Value>
void attend(F* out, const F* q, size_t key_width, size_t d, size_t n, F scale, const Key& key, const Value& value) {
  Running<F> run;
  for (size_t block = 0; block * kPagePositions < n; ++block) {
    const size_t count = std::min(kPagePositions, n - block * kPagePositions);
    F s[kPagePositions];
    const BlockSums<F> sums = weigh_block(s, q, key_width, block, count, scale, key);
    add_block(run, out, s, sums, block, count, 0, d, value);
  }
  divide(run, out, 0, d);
}

}  // namespace fathom::ref
