// exp, log, sin and cos of every table (spec/numerics.md 1): fixed operations, at most 1.1 ulp, subnormals kept, the
// same bits on every processor. exp is spelled out in f32 because the other tables repeat it lane by lane; log, sin and
// cos work in double and round once, and every table calls these very functions. Also double versions (the C library's)
// for finite differences. Pure functions, any thread.
#pragma once
#include <bit>
#include <cmath>
#include <cstdint>

namespace fathom::ref {

inline constexpr float kExpLowest = -104.0f;       ///< exp(-104) < 2^-150 rounds to 0
inline constexpr float kExpHighest = 89.0f;        ///< exp(89) > 2^128 rounds to infinity
inline constexpr float kLog2E = 0x1.715476p+0f;    ///< 1 / ln 2
inline constexpr float kRoundMagic = 0x1.8p+23f;   ///< adding it rounds to an integer in the low mantissa bits
inline constexpr float kLn2High = 0x1.62e43p-1f;   ///< ln 2 rounded to f32 ...
inline constexpr float kLn2Low = -0x1.05c61p-29f;  ///< ... and the rest
/// (exp(r) - 1 - r) / r^2 on [-ln2 / 2, ln2 / 2], interpolated at the five Chebyshev nodes: relative error 2e-9.
inline constexpr float kExp2 = 0x1p-1f, kExp3 = 0x1.5554dcp-3f, kExp4 = 0x1.55551ap-5f, kExp5 = 0x1.120b6ep-7f,
                       kExp6 = 0x1.6d110ap-10f;

/// e^x by x = n ln 2 + r, a polynomial of degree 6 in r, and two multiplications by powers of two, so that the scale
/// neither overflows nor underflows before the result does. NaN gives NaN. Largest error found: 0.957 ulp.
inline float exp(float x) {
  x = kExpHighest < x ? kExpHighest : x;  // a NaN passes both comparisons
  x = kExpLowest > x ? kExpLowest : x;
  const float shifted = std::fma(x, kLog2E, kRoundMagic);
  const float n = shifted - kRoundMagic;
  float r = std::fma(-n, kLn2High, x);  // exact: both are multiples of one small power of two
  r = std::fma(-n, kLn2Low, r);
  float p = std::fma(kExp6, r, kExp5);
  p = std::fma(p, r, kExp4);
  p = std::fma(p, r, kExp3);
  p = std::fma(p, r, kExp2);
  p = std::fma(p, r, 1.0f);
  p = std::fma(p, r, 1.0f);
  const int32_t whole = static_cast<int32_t>(std::bit_cast<uint32_t>(shifted) - std::bit_cast<uint32_t>(kRoundMagic));
  const int32_t half = whole >> 1;
  const float scale1 = std::bit_cast<float>(static_cast<uint32_t>(half + 127) << 23);
  const float scale2 = std::bit_cast<float>(static_cast<uint32_t>(whole - half + 127) << 23);
  return (p * scale1) * scale2;
}
inline double exp(double x) { return std::exp(x); }

/// Natural logarithm: x = 2^e m with m in [sqrt(1/2), sqrt(2)), log m = 2 atanh(s), s = (m - 1) / (m + 1), as a series.
/// 0 gives -infinity, a negative number NaN. Error below 0.51 ulp.
inline float log(float x) {
  if (!(x > 0)) return x == 0 ? -INFINITY : std::bit_cast<float>(0x7fc00000u);
  if (x == INFINITY) return x;
  const uint64_t bits = std::bit_cast<uint64_t>(static_cast<double>(x));  // every f32 is a normal double
  // The mantissa of sqrt(2): subtracting it moves the borrow into the exponent exactly where m must be halved.
  const uint64_t shifted = bits - 0x3fe6a09e667f3bcdu;
  const int64_t e = static_cast<int64_t>(shifted) >> 52;
  const double m = std::bit_cast<double>(bits - (static_cast<uint64_t>(e) << 52));
  const double s = (m - 1.0) / (m + 1.0), z = s * s;
  double p = std::fma(z, 1.0 / 13, 1.0 / 11);
  p = std::fma(p, z, 1.0 / 9);
  p = std::fma(p, z, 1.0 / 7);
  p = std::fma(p, z, 1.0 / 5);
  p = std::fma(p, z, 1.0 / 3);
  p = std::fma(p, z, 1.0);
  return static_cast<float>(std::fma(static_cast<double>(e), 0x1.62e42fefa39efp-1, 2.0 * s * p));
}
inline double log(double x) { return std::log(x); }

/// x = quadrant * pi / 2 + r with |r| at most about pi / 4.
struct ReducedAngle {
  double r;
  uint32_t quadrant;
};

/// Exact to about 2^-68 for |x| < 2^40: n * high is a multiple of 2^-52, so the first fma does not round. Beyond that
/// the angle is first taken modulo the double next to 2 pi: still fixed and finite, but without meaning.
inline ReducedAngle reduce_angle(float x) {
  constexpr double kHalfPiHigh = 0x1.921fb54442d18p+0, kHalfPiLow = 0x1.1a62633145c07p-54, kMagic = 0x1.8p+52;
  double a = static_cast<double>(x);
  if (std::fabs(a) >= 0x1p40) a = std::fmod(a, 4 * kHalfPiHigh);  // a NaN or infinity ends as NaN
  const double shifted = std::fma(a, 0x1.45f306dc9c883p-1, kMagic), n = shifted - kMagic;
  const double r = std::fma(-n, kHalfPiLow, std::fma(-n, kHalfPiHigh, a));
  return {r, static_cast<uint32_t>(std::bit_cast<uint64_t>(shifted)) & 3};
}

/// Taylor series on [-pi/4, pi/4]; the first term left out is below 1e-11 of the result.
inline double sin_series(double r) {
  const double z = r * r;
  double p = std::fma(z, -1.0 / 39916800, 1.0 / 362880);
  p = std::fma(p, z, -1.0 / 5040);
  p = std::fma(p, z, 1.0 / 120);
  p = std::fma(p, z, -1.0 / 6);
  return std::fma(p * z, r, r);
}
inline double cos_series(double r) {
  const double z = r * r;
  double p = std::fma(z, 1.0 / 479001600, -1.0 / 3628800);
  p = std::fma(p, z, 1.0 / 40320);
  p = std::fma(p, z, -1.0 / 720);
  p = std::fma(p, z, 1.0 / 24);
  p = std::fma(p, z, -1.0 / 2);
  return std::fma(p, z, 1.0);
}

/// Sine and cosine, x in radians; error below 0.51 ulp for |x| < 2^40.
inline float sin(float x) {
  if (x == 0) return x;  // the series would lose the sign
  const ReducedAngle a = reduce_angle(x);
  const double y = a.quadrant & 1 ? cos_series(a.r) : sin_series(a.r);
  return static_cast<float>(a.quadrant & 2 ? -y : y);
}
inline float cos(float x) {
  const ReducedAngle a = reduce_angle(x);
  const double y = a.quadrant & 1 ? sin_series(a.r) : cos_series(a.r);
  return static_cast<float>((a.quadrant + 1) & 2 ? -y : y);
}

}  // namespace fathom::ref
