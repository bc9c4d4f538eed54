// exp, log, sin and cos against the C library in double: strided sweeps over all f32, in units in the last place.
#include "kernels/ref/elementary.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

namespace fathom {
namespace {

/// |got - want| in units in the last place of the f32 nearest to want (subnormal spacing below 2^-126).
double ulps(float got, double want) {
  if (std::isinf(static_cast<float>(want))) return got == static_cast<float>(want) ? 0 : INFINITY;
  const double size = std::fabs(want);
  const int exponent = size < 0x1p-126 ? -126 : std::ilogb(size);
  return std::fabs(static_cast<double>(got) - want) / std::ldexp(1.0, exponent - 23);
}

/// Worst error over the floats from `low` on in bit patterns, up to `high`, both of one sign.
template <class F, class G>
double worst(float low, float high, uint32_t stride, const F& f, const G& g) {
  double worst = 0;
  const uint32_t end = std::bit_cast<uint32_t>(high);
  for (uint64_t bits = std::bit_cast<uint32_t>(low); bits <= end; bits += stride) {
    const float x = std::bit_cast<float>(static_cast<uint32_t>(bits));
    worst = std::max(worst, ulps(f(x), g(static_cast<double>(x))));
  }
  return worst;
}

constexpr uint32_t kStride = 1511;  // odd: every pattern of low bits occurs

float exp1(float x) { return ref::exp(x); }
float log1(float x) { return ref::log(x); }
float sin1(float x) { return ref::sin(x); }
float cos1(float x) { return ref::cos(x); }
double exp2(double x) { return std::exp(x); }
double log2(double x) { return std::log(x); }
double sin2(double x) { return std::sin(x); }
double cos2(double x) { return std::cos(x); }

TEST(Elementary, ExpIsWithinOnePointOneUlp) {
  EXPECT_LE(worst(0.0f, 88.7f, kStride, exp1, exp2), 1.1);
  EXPECT_LE(worst(-0.0f, -110.0f, kStride, exp1, exp2), 1.1);
  EXPECT_LE(worst(-80.0f, -105.0f, 17, exp1, exp2), 1.1) << "results around and below the smallest normal number";
}

TEST(Elementary, ExpAtTheEdges) {
  const float inf = INFINITY;
  EXPECT_EQ(ref::exp(inf), inf);
  EXPECT_EQ(ref::exp(-inf), 0.0f);
  EXPECT_EQ(ref::exp(std::numeric_limits<float>::max()), inf);
  EXPECT_EQ(ref::exp(std::numeric_limits<float>::lowest()), 0.0f);
  EXPECT_EQ(ref::exp(0.0f), 1.0f);
  EXPECT_EQ(ref::exp(-0.0f), 1.0f);
  EXPECT_EQ(ref::exp(0x1p-149f), 1.0f);
  EXPECT_TRUE(std::isnan(ref::exp(NAN)));
  EXPECT_LT(ref::exp(88.72f), inf);
  EXPECT_EQ(ref::exp(88.73f), inf);
  EXPECT_EQ(ref::exp(-103.9f), 0x1p-149f);
}

TEST(Elementary, LogIsWithinOnePointOneUlp) {
  EXPECT_LE(worst(0x1p-149f, std::numeric_limits<float>::max(), kStride, log1, log2), 0.51);
  EXPECT_LE(worst(0.9f, 1.1f, 7, log1, log2), 0.51) << "where the result is small";
}

TEST(Elementary, LogAtTheEdges) {
  EXPECT_EQ(ref::log(1.0f), 0.0f);
  EXPECT_EQ(ref::log(0.0f), -INFINITY);
  EXPECT_EQ(ref::log(-0.0f), -INFINITY);
  EXPECT_EQ(ref::log(INFINITY), INFINITY);
  EXPECT_TRUE(std::isnan(ref::log(-1.0f)));
  EXPECT_TRUE(std::isnan(ref::log(-INFINITY)));
  EXPECT_TRUE(std::isnan(ref::log(NAN)));
}

TEST(Elementary, SineAndCosineAreWithinOnePointOneUlp) {
  for (const float sign : {1.0f, -1.0f}) {
    EXPECT_LE(worst(sign * 0.0f, sign * 1e-3f, kStride, sin1, sin2), 0.51);
    EXPECT_LE(worst(sign * 1e-3f, sign * 2e5f, 401, sin1, sin2), 0.51);
    EXPECT_LE(worst(sign * 1e-3f, sign * 2e5f, 401, cos1, cos2), 0.51);
    EXPECT_LE(worst(sign * 2e5f, sign * 0x1p39f, kStride, sin1, sin2), 0.51);
    EXPECT_LE(worst(sign * 2e5f, sign * 0x1p39f, kStride, cos1, cos2), 0.51);
  }
}

TEST(Elementary, SineAndCosineNearTheirZeros) {
  for (int n = 1; n < 100000; n += 3) {
    const float near = static_cast<float>(n * (M_PI / 2));
    for (const float x : {std::nextafter(near, 0.0f), near, std::nextafter(near, INFINITY)}) {
      ASSERT_LE(ulps(ref::sin(x), std::sin(static_cast<double>(x))), 0.51) << x;
      ASSERT_LE(ulps(ref::cos(x), std::cos(static_cast<double>(x))), 0.51) << x;
    }
  }
}

TEST(Elementary, SineAndCosineAtTheEdges) {
  EXPECT_TRUE(std::signbit(ref::sin(-0.0f)));
  EXPECT_EQ(ref::sin(0x1p-149f), 0x1p-149f);
  EXPECT_EQ(ref::cos(0.0f), 1.0f);
  for (const float x : {INFINITY, -INFINITY, NAN}) {
    EXPECT_TRUE(std::isnan(ref::sin(x)));
    EXPECT_TRUE(std::isnan(ref::cos(x)));
  }
  for (const float x : {1e13f, 1e20f, -1e30f, std::numeric_limits<float>::max()}) {
    EXPECT_LE(std::fabs(ref::sin(x)), 1.0f);
    EXPECT_LE(std::fabs(ref::cos(x)), 1.0f);
  }
}

}  // namespace
}  // namespace fathom
