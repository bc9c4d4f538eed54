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

/// One block of one head: scores s[count] become probabilities, values are summed into block_out and joined with out.
/// value(i, j): component j of position i's value.
template <class F, class Value>
void add_block(Running<F>& run, F* out, F* block_out, F* s, size_t count, size_t d, const Value& value) {
  const F m = row_max(s, count);
  for (size_t i = 0; i < count; ++i) s[i] = exp(s[i] - m);
  const F l = row_sum(s, count);
  for (size_t j = 0; j < d; ++j) {
    F o = 0;
    for (size_t i = 0; i < count; ++i) o = std::fma(s[i], value(i, j), o);
    block_out[j] = o;
  }
  if (run.empty) {
    run = {m, l, false};
    std::copy_n(block_out, d, out);
    return;
  }
  const F both = m > run.m ? m : run.m, fa = exp(run.m - both), fb = exp(m - both);
  run.m = both;
  run.l = run.l * fa + l * fb;
  for (size_t j = 0; j < d; ++j) out[j] = out[j] * fa + block_out[j] * fb;
}

/// out[d] of the query q[key_width] over positions [0, n). key(block, i, j): component j of key i of a block; value
/// likewise, of d components. block_out: scratch of d numbers.
template <class F, class Key, class Value>
void attend(F* out, const F* q, size_t key_width, size_t d, size_t n, F scale, F* block_out, const Key& key,
            const Value& value) {
  Running<F> run;
  for (size_t block = 0; block * kPagePositions < n; ++block) {
    const size_t count = std::min(kPagePositions, n - block * kPagePositions);
    F s[kPagePositions];
    for (size_t i = 0; i < count; ++i) {
      F acc = 0;
      for (size_t j = 0; j < key_width; ++j) acc = std::fma(q[j], key(block, i, j), acc);
      s[i] = acc * scale;
    }
    add_block(run, out, block_out, s, count, d, [&](size_t i, size_t j) { return value(block, i, j); });
  }
  for (size_t j = 0; j < d; ++j) out[j] = run.empty ? F(0) : out[j] / run.l;
}

}  // namespace fathom::ref
