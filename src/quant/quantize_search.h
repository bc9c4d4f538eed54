// Loops that the block writers share: rounding to a type's codes, and searches for the scale (and offset) of a few
// values. Private to quant/. Four float lanes at a time in fixed order, no libm: every processor gives the same bits.
// Nothing here converts a float to an integer before it is clamped, so NaN and infinite values are harmless.
#pragma once
#ifdef __SSE2__
#include <emmintrin.h>
#endif
#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace fathom::quant_detail {

using Lanes [[gnu::vector_size(16)]] = float;
using IntLanes [[gnu::vector_size(16)]] = int32_t;

inline Lanes splat(float v) { return Lanes{v, v, v, v}; }
inline Lanes load(const float* p) {
  Lanes v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
inline float sum(Lanes v) { return (v[0] + v[1]) + (v[2] + v[3]); }
/// The sums of a and of b.
struct TwoSums {
  float a, b;
};
inline TwoSums sums(Lanes a, Lanes b) {
  const Lanes s = __builtin_shufflevector(a, b, 0, 4, 2, 6) + __builtin_shufflevector(a, b, 1, 5, 3, 7);
  return {s[0] + s[2], s[1] + s[3]};
}
/// The second operand where either is NaN. g++ 12 makes one instruction of the comparison only where neither operand is
/// a constant, hence SSE2's own, which every x86-64 has.
#ifdef __SSE2__
inline Lanes max(Lanes a, Lanes b) { return _mm_max_ps(a, b); }
inline Lanes min(Lanes a, Lanes b) { return _mm_min_ps(a, b); }
#else
inline Lanes max(Lanes a, Lanes b) { return a > b ? a : b; }
inline Lanes min(Lanes a, Lanes b) { return a < b ? a : b; }
#endif
inline float max_lane(Lanes v) { return std::max(std::max(v[0], v[1]), std::max(v[2], v[3])); }
inline float min_lane(Lanes v) { return std::min(std::min(v[0], v[1]), std::min(v[2], v[3])); }
inline Lanes magnitude(Lanes v) { return max(v, -v); }

/// 1.5 * 2^23: adding it to |v| < 2^22 leaves no fraction bits, so the sum is v rounded to nearest, ties to even.
inline constexpr float kRounder = 12582912.0f;

/// v clamped to [low, high], then rounded to nearest even. NaN: low.
inline int round_clamped(float v, int low, int high) {
  const float lo = static_cast<float>(low), hi = static_cast<float>(high);
  v = v > lo ? v : lo;
  v = v < hi ? v : hi;
  return static_cast<int>((v + kRounder) - kRounder);
}

/// N floats as lanes.
template <size_t N>
struct Values {
  static constexpr size_t kLanes = N / 4;
  Lanes lanes[kLanes];

  static Values from(const float* p) {
    Values v;
    std::memcpy(v.lanes, p, sizeof v.lanes);
    return v;
  }
  float operator[](size_t i) const { return lanes[i / 4][i % 4]; }
};

template <size_t N>
float sum(const Values<N>& v) {
  Lanes s{};
  for (const Lanes& l : v.lanes) s += l;
  return sum(s);
}

template <size_t N>
float sum_of_squares(const Values<N>& v) {
  Lanes s{};
  for (const Lanes& l : v.lanes) s += l * l;
  return sum(s);
}

// --- Codes: what a stored integer stands for, before scale and offset
// -------------------------------------------------

/// The integers kLow to kHigh, stored from 0 on.
template <int kLow, int kHigh>
struct IntegerCodes {
  static Lanes nearest(Lanes v) {
    v = min(max(v, splat(kLow)), splat(kHigh));
    return (v + splat(kRounder)) - splat(kRounder);
  }
  static IntLanes index(Lanes v) { return __builtin_convertvector(nearest(v), IntLanes) - kLow; }
};

/// The 16 values of IQ4_NL and IQ4_XS (spec/gguf.md 4.1). A value halfway between two goes to the upper one.
struct Iq4Codes {
  static constexpr std::array<float, 16> kValues = {-127, -104, -83, -65, -49, -35, -22, -10,
                                                    1,    13,   25,  38,  53,  69,  89,  113};
  static constexpr float middle(size_t i) { return 0.5f * (kValues[i] + kValues[i + 1]); }
  static Lanes nearest(Lanes v) {
    Lanes code = splat(kValues[0]);
    for (size_t i = 0; i < 15; ++i) code += v >= splat(middle(i)) ? splat(kValues[i + 1] - kValues[i]) : Lanes{};
    return code;
  }
  static IntLanes index(Lanes v) {
    IntLanes index{};
    for (size_t i = 0; i < 15; ++i) index -= v >= splat(middle(i));  // true is -1
    return index;
  }
};

// --- Searches
// ---------------------------------------------------------------------------------------------------------

/// Below this largest magnitude (or range) a group of values is stored as equal values: its scale would vanish in f16.
inline constexpr float kTiny = 1e-15f;

/// Of x, the first value of largest magnitude; 0 if all are 0 or NaN.
template <size_t N>
float extreme(const Values<N>& x) {
  Lanes most{};
  for (const Lanes& l : x.lanes) most = max(magnitude(l), most);
  const float largest = max_lane(most);
  for (size_t i = 0; i < N; ++i)
    if (std::fabs(x[i]) == largest) return x[i];
  return 0;
}

template <size_t N>
Values<N> product(const Values<N>& a, const Values<N>& b) {
  Values<N> out;
  for (size_t i = 0; i < N / 4; ++i) out.lanes[i] = a.lanes[i] * b.lanes[i];
  return out;
}

/// sum w x q and sum w q^2 for the codes q nearest to inverse * x; wx: w x. Their quotient is the scale s that makes
/// sum w (s q - x)^2 least, which then is sum w x^2 - (sum w x q)^2 / sum w q^2.
template <class Codes, size_t N>
TwoSums scale_sums(const Values<N>& x, const Values<N>& w, const Values<N>& wx, float inverse) {
  Lanes xq{}, qq{};
  for (size_t i = 0; i < x.kLanes; ++i) {
    const Lanes q = Codes::nearest(splat(inverse) * x.lanes[i]);
    xq += wx.lanes[i] * q;
    qq += w.lanes[i] * q * q;
  }
  return sums(xq, qq);
}

/// The best such scale where q = codes nearest to x t / extreme(x) for one of the targets t.
template <class Codes, size_t N, size_t kTargets>
float search_scale(const Values<N>& x, const Values<N>& w, const std::array<float, kTargets>& targets) {
  const float far = extreme(x);
  if (!(std::fabs(far) >= kTiny)) return 0;
  const Values<N> wx = product(w, x);
  float scale = 0, best = 0;
  for (const float target : targets) {
    const auto [xq, qq] = scale_sums<Codes>(x, w, wx, target / far);
    if (qq > 0 && xq * xq > best * qq) scale = xq / qq, best = scale * xq;
  }
  return scale;
}

/// The targets -kTop and -(kTop + 0.9 k / kEachSide), k = -kEachSide..kEachSide: the largest value's code, and
/// grids that are a little finer or coarser.
template <int kTop, int kEachSide = 9>
constexpr std::array<float, 2 * kEachSide + 1> symmetric_targets() {
  std::array<float, 2 * kEachSide + 1> targets{};
  for (int k = -kEachSide; k <= kEachSide; ++k)
    targets[static_cast<size_t>(k + kEachSide)] =
        -(static_cast<float>(kTop) + 0.9f * static_cast<float>(k) / kEachSide);
  return targets;
}

/// value = scale * q + offset.
struct Affine {
  float scale, offset;
};

/// Which grids search_affine tries: (first + step k + the highest code) / range for k = 0..count.
struct AffineGrids {
  float first, step;
  int count;
};

/// sum w |scale q + offset - x|, or of the squares, where q are the codes that make it least.
template <class Codes, bool kAbsolute, size_t N>
float affine_error(const Values<N>& x, const Values<N>& w, Affine fit) {
  const Lanes scale = splat(fit.scale), offset = splat(fit.offset);
  const Lanes inverse = splat(fit.scale != 0 ? 1 / fit.scale : 0);
  Lanes total{};
  for (size_t i = 0; i < x.kLanes; ++i) {
    const Lanes e = scale * Codes::nearest((x.lanes[i] - offset) * inverse) + offset - x.lanes[i];
    total += w.lanes[i] * (kAbsolute ? magnitude(e) : e * e);
  }
  return sum(total);
}

/// What fit_affine needs of x and its weights.
template <size_t N>
struct Weighted {
  const Values<N>&x, &w;
  Values<N> wx;
  float sum_w, sum_wx;

  Weighted(const Values<N>& values, const Values<N>& weights)
      : x(values), w(weights), wx(product(weights, values)), sum_w(sum(w)), sum_wx(sum(wx)) {}
};

/// The weighted least squares of (scale, offset) for the codes nearest to (x - low) * inverse; a scale of 0 where all
/// codes are equal. kAnyOffset: the offset may be positive, else it is at most 0.
template <class Codes, bool kAnyOffset, size_t N>
Affine fit_affine(const Weighted<N>& data, float low, float inverse) {
  Lanes sums_q{}, sums_qq{}, sums_xq{};
  for (size_t i = 0; i < N / 4; ++i) {
    const Lanes q = Codes::nearest(splat(inverse) * (data.x.lanes[i] - splat(low))), wq = data.w.lanes[i] * q;
    sums_q += wq, sums_qq += wq * q, sums_xq += data.wx.lanes[i] * q;
  }
  const auto [q, qq] = sums(sums_q, sums_qq);
  const float xq = sum(sums_xq), determinant = data.sum_w * qq - q * q;
  if (!(determinant > 0)) return {0, 0};
  const float per_determinant = 1 / determinant, offset = (qq * data.sum_wx - q * xq) * per_determinant;
  if (!kAnyOffset && offset > 0) return {xq / qq, 0};
  return {(data.sum_w * xq - data.sum_wx * q) * per_determinant, offset};
}

/// Scale and offset that make the weighted error of scale q + offset, q in 0..kTop, small. Every grid's codes give a
/// least squares problem; the best fit of all stays, and the grids after it begin at its offset. kAnyOffset: as above.
/// stored: what a file makes of a fit, which is then judged by that. Source: spec/gguf.md 4.9.
template <int kTop, bool kAbsolute, bool kAnyOffset, size_t N>
Affine search_affine(
    const Values<N>& x, const Values<N>& w, const AffineGrids& grids,
    Affine (*stored)(Affine) = [](Affine fit) { return fit; }) {
  using Codes = IntegerCodes<0, kTop>;
  Lanes low = x.lanes[0], high = low;
  for (const Lanes& l : x.lanes) low = min(l, low), high = max(l, high);
  const float lowest = kAnyOffset ? min_lane(low) : std::min(min_lane(low), 0.0f), highest = max_lane(high);
  if (!(highest - lowest >= kTiny)) return {0, lowest};

  const Weighted<N> data(x, w);
  Affine best = stored({(highest - lowest) / kTop, lowest});
  float least = affine_error<Codes, kAbsolute>(x, w, best), per_range = 1 / (highest - lowest);
  for (int k = 0; k <= grids.count; ++k) {
    const float inverse = (grids.first + grids.step * static_cast<float>(k) + kTop) * per_range;
    const Affine fit = stored(fit_affine<Codes, kAnyOffset>(data, best.offset, inverse));
    if (fit.scale == 0) continue;
    const float error = affine_error<Codes, kAbsolute>(x, w, fit);
    if (error < least) least = error, best = fit, per_range = 1 / (highest - best.offset);
  }
  return best;
}

}  // namespace fathom::quant_detail
