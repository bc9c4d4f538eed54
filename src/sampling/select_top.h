// The largest entries of a row of logits without sorting it. One order for the whole folder: larger value first, lower
// index among equals, so a selection never depends on how it was made. Used by sampler.cc and logprobs.cc.
#pragma once
#include <algorithm>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

namespace fathom {

struct Scored {
  double value;
  int32_t index;
};

/// The order: larger value first, lower index among equals. Strict; values are not NaN.
inline bool ranks_before(const Scored& a, const Scored& b) {
  return a.value != b.value ? a.value > b.value : a.index < b.index;
}

/// Shortens `list` to its k first by ranks_before, unordered except that the last of k ends it.
inline void keep_first(std::vector<Scored>& list, size_t k) {
  if (k == 0) return list.clear();
  if (k > list.size()) return;
  std::nth_element(list.begin(), list.begin() + static_cast<ptrdiff_t>(k) - 1, list.end(), ranks_before);
  list.resize(k);
}

/// out = the k first of `values` by ranks_before, unordered except that the last of k ends it; entries of -infinity are
/// never taken. One pass: a buffer of twice k is cut back to k whenever it is full, and what lies below the k-th so far
/// is skipped.
template <class T>
void select_top(std::span<const T> values, size_t k, std::vector<Scored>& out) {
  constexpr double kNone = -std::numeric_limits<double>::infinity();
  constexpr size_t kSmallestBuffer = 64;
  out.clear();
  if (k == 0) return;
  k = std::min(k, values.size());
  const size_t full = std::max(2 * k, kSmallestBuffer);
  out.reserve(std::min(full, values.size()));
  double floor = kNone;
  for (size_t i = 0; i < values.size(); ++i) {
    const double value = values[i];
    if (!(value > floor)) continue;  // an equal of the k-th has a higher index here
    out.push_back({value, static_cast<int32_t>(i)});
    if (out.size() < full) continue;
    keep_first(out, k);
    floor = out.back().value;
  }
  keep_first(out, k);
}

}  // namespace fathom
