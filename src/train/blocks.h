// Loops over a tensor's values in blocks of one size, so that neither results nor their order depend on the number of
// threads. Called by optimizers and averages.
#pragma once
#include <algorithm>
#include <cstddef>
#include <span>
#include <vector>

#include "base/thread_pool.h"

namespace fathom {

inline constexpr size_t kBlockValues = 16384;

/// Calls f(begin, end) for the blocks of [0, n), on the pool's threads. f must not throw.
inline void for_blocks(ThreadPool& pool, size_t n, FunctionRef<void(size_t, size_t)> f) {
  pool.run((n + kBlockValues - 1) / kBlockValues,
           [&](size_t i) { f(i * kBlockValues, std::min(n, (i + 1) * kBlockValues)); });
}

/// Sum of squares in double: each block one chain of s + x * x in ascending order, the blocks' sums added in order.
inline double sum_of_squares(ThreadPool& pool, std::span<const float> values) {
  std::vector<double> sums((values.size() + kBlockValues - 1) / kBlockValues);
  for_blocks(pool, values.size(), [&](size_t begin, size_t end) {
    double sum = 0;
    for (size_t i = begin; i < end; ++i) sum += static_cast<double>(values[i]) * values[i];
    sums[begin / kBlockValues] = sum;
  });
  double total = 0;
  for (const double sum : sums) total += sum;
  return total;
}

}  // namespace fathom
