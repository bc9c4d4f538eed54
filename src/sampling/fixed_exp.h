// exp in double by a fixed list of operations: no libm, no fma, so a weight has the same bits on every machine and the
// same seed draws the same token everywhere (spec/numerics.md 7). Used by sampler.cc. Pure functions.
#pragma once
#include <cstddef>
#include <cstdint>

namespace fathom {

/// e^x for x <= 0 (-infinity included), within 1 ulp; 0 below -708, where the result would leave the normal numbers.
///   x = k ln 2 + r, |r| <= ln 2 / 2, ln 2 split in two so that k times its high part is exact (Cody and Waite);
///   e^r = 1 + (r + r^2 Q(r)), Taylor's series to r^13: its rest is below 2^-57. exp(0) is exactly 1.
/// D is double or a vector of them, W the unsigned words of the same shape: each lane has the bits of the scalar.
/// Always inline, without calls: whoever has AVX expects a vector elsewhere than a function without it returns it.
template <class D = double, class W = uint64_t>
[[gnu::always_inline]] inline D fixed_exp(D x) {
  constexpr double kLog2E = 0x1.71547652b82fep+0, kRound = 0x1.8p52;
  constexpr double kLn2High = 0x1.62e42feep-1, kLn2Low = 0x1.a39ef35793c76p-33;
  const D lowest = D{} - 708, zero{};
  const D z = x < lowest ? lowest : x;
  const D shifted = z * kLog2E + kRound;  // its low bits are k, rounded to nearest
  const D k = shifted - kRound;
  const D r = (z - k * kLn2High) - k * kLn2Low;
  D q = 1.0 / 6227020800 * r + 1.0 / 479001600;
  q = q * r + 1.0 / 39916800;
  q = q * r + 1.0 / 3628800;
  q = q * r + 1.0 / 362880;
  q = q * r + 1.0 / 40320;
  q = q * r + 1.0 / 5040;
  q = q * r + 1.0 / 720;
  q = q * r + 1.0 / 120;
  q = q * r + 1.0 / 24;
  q = q * r + 1.0 / 6;
  q = q * r + 1.0 / 2;
  const D fraction = 1 + (r + r * r * q);
  const W exponent = __builtin_bit_cast(W, shifted) + 1023;  // mod 2^12 this is k + 1023: kRound ends in zeros
  const D y = fraction * __builtin_bit_cast(D, exponent << 52);
  return x < lowest ? zero : y;
}

/// weights[i] = fixed_exp(x[i] - largest); several at a time, with AVX2 four where the processor has it.
void fixed_exp(double* weights, const double* x, double largest, size_t n);

}  // namespace fathom
