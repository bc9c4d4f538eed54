#include "sampling/fixed_exp.h"

#include <cstring>

namespace fathom {
namespace {

// A compiler's extension, not an instruction set's: any target has vectors of any length.
using TwoDoubles = double __attribute__((vector_size(16)));
using TwoWords = uint64_t __attribute__((vector_size(16)));
using FourDoubles = double __attribute__((vector_size(32)));
using FourWords = uint64_t __attribute__((vector_size(32)));

template <class Doubles, class Words>
[[gnu::always_inline]] inline void lanes(double* weights, const double* x, double largest, size_t n) {
  constexpr size_t kLanes = sizeof(Doubles) / sizeof(double);
  size_t i = 0;
  for (Doubles v; i + kLanes <= n; i += kLanes) {
    std::memcpy(&v, x + i, sizeof v);
    v = fixed_exp<Doubles, Words>(v - largest);
    std::memcpy(weights + i, &v, sizeof v);
  }
  for (; i < n; ++i) weights[i] = fixed_exp(x[i] - largest);
}

#if defined(__x86_64__)
// Without fma: the same operations, so the same bits.
[[gnu::target("avx2")]] void four_lanes(double* weights, const double* x, double largest, size_t n) {
  lanes<FourDoubles, FourWords>(weights, x, largest, n);
}
#endif

}  // namespace

void fixed_exp(double* weights, const double* x, double largest, size_t n) {
#if defined(__x86_64__)
  static const bool has_avx2 = __builtin_cpu_supports("avx2");
  if (has_avx2) return four_lanes(weights, x, largest, n);
#endif
  lanes<TwoDoubles, TwoWords>(weights, x, largest, n);
}

}  // namespace fathom
