// A block of a quantised type while its scales are chosen: kSubs groups of N values that share f16 factors d and dmin
// and have small integers each, value = (d * scale) * code - dmin * min. Private to quant/; one thread.
#pragma once
#include "quant/quantize_blocks.h"
#include "quant/quantize_search.h"
#include "tensor/float_types.h"

namespace fathom::quant_detail {

/// The nearest f16, finite: a value beyond f16's range is stored as its largest, NaN as -65504.
inline uint16_t finite_half(double v) {
  v = v > -65504.0 ? v : -65504.0;
  return f16_from_f32(static_cast<float>(v < 65504.0 ? v : 65504.0));
}
inline float through_half(double v) { return f32_from_f16(finite_half(v)); }

inline void store_half(uint8_t* out, float v) {
  const uint16_t h = finite_half(v);
  std::memcpy(out, &h, sizeof h);
}

/// What a choice of scales costs: by the weights of the search, and by the plain ones (1, or the importance alone).
struct Cost {
  double search = 0, plain = 0;
  /// Less by the search's weights and no more by the plain ones.
  bool improves(const Cost& old) const { return search < old.search && plain <= old.plain; }
  Cost& operator+=(const Cost& other) {
    search += other.search, plain += other.plain;
    return *this;
  }
};

/// The integers that a block can store per group, and how often they and the factors are improved.
struct ScaleLimits {
  int lowest, highest, highest_min;
  int rounds = 2;
};

template <class Codes, size_t N, size_t kSubs, bool kAbsolute = false>
struct SuperBlock {
  Values<N> x[kSubs];      ///< the values, group by group
  Values<N> w[kSubs];      ///< weights of the search
  Values<N> plain[kSubs];  ///< 1, or the importance alone
  float d = 0, dmin = 0;   ///< as f16 has them
  std::array<int, kSubs> scale{}, min{};
  std::array<Cost, kSubs> cost{};
  bool started = false;  ///< whether a start() was taken

  /// Cost of group j with this scale and min, every value at its nearest code.
  Cost cost_of(size_t j, float scale_value, float min_value) const {
    const Lanes s = splat(scale_value), m = splat(min_value), inverse = splat(scale_value != 0 ? 1 / scale_value : 0);
    Lanes by_search{}, by_plain{};
    for (size_t i = 0; i < N / 4; ++i) {
      const Lanes v = x[j].lanes[i], e = s * Codes::nearest((v + m) * inverse) - m - v, ee = e * e;
      by_search += w[j].lanes[i] * (kAbsolute ? magnitude(e) : ee);
      by_plain += plain[j].lanes[i] * ee;
    }
    const auto [search_cost, plain_cost] = sums(by_search, by_plain);
    return {search_cost, plain_cost};
  }
  Cost cost_of(size_t j, float new_d, float new_dmin, int s, int m) const {
    return cost_of(j, new_d * static_cast<float>(s), new_dmin * static_cast<float>(m));
  }

  /// Takes these factors, the groups' own scales and mins rounded to their multiples, if that improves on what is set.
  void start(const std::array<Affine, kSubs>& fit, const ScaleLimits& limits, float new_d, float new_dmin) {
    const float per_d = new_d != 0 ? 1 / new_d : 0, per_dmin = new_dmin != 0 ? 1 / new_dmin : 0;
    std::array<int, kSubs> scales, mins;
    std::array<Cost, kSubs> costs;
    for (size_t j = 0; j < kSubs; ++j) {
      scales[j] = round_clamped(fit[j].scale * per_d, limits.lowest, limits.highest);
      mins[j] = round_clamped(-fit[j].offset * per_dmin, 0, limits.highest_min);
      costs[j] = cost_of(j, new_d, new_dmin, scales[j], mins[j]);
    }
    if (started && !total(costs).improves(total(cost))) return;
    d = new_d, dmin = new_dmin, scale = scales, min = mins, cost = costs, started = true;
  }

  /// Moves each group's integers by one where that lowers its cost.
  bool improve_scales(const ScaleLimits& limits) {
    bool changed = false;
    for (size_t j = 0; j < kSubs; ++j) {
      const int s0 = scale[j], m0 = min[j], reach = limits.highest_min > 0 && dmin != 0 ? 1 : 0;
      for (int s = std::max(s0 - 1, limits.lowest); s <= std::min(s0 + 1, limits.highest); ++s)
        for (int m = std::max(m0 - reach, 0); m <= std::min(m0 + reach, limits.highest_min); ++m) {
          if (s == s0 && m == m0) continue;
          const Cost c = cost_of(j, d, dmin, s, m);
          if (c.improves(cost[j])) cost[j] = c, scale[j] = s, min[j] = m, changed = true;
        }
    }
    return changed;
  }

  /// The weighted least squares of (d, dmin) for the present codes; taken if the block's cost falls.
  bool improve_factors() {
    double uu = 0, um = 0, mm = 0, xu = 0, xm = 0;  // u = scale * code
    for (size_t j = 0; j < kSubs; ++j) {
      const float s = d * static_cast<float>(scale[j]), offset = dmin * static_cast<float>(min[j]);
      const Lanes inverse = splat(s != 0 ? 1 / s : 0);
      Lanes w_sum{}, wq{}, wqq{}, wx{}, wxq{};
      for (size_t i = 0; i < N / 4; ++i) {
        const Lanes v = x[j].lanes[i], q = Codes::nearest((v + splat(offset)) * inverse), weight = w[j].lanes[i];
        w_sum += weight, wq += weight * q, wqq += weight * q * q, wx += weight * v, wxq += weight * v * q;
      }
      const double sc = scale[j], m = min[j];
      uu += sc * sc * sum(wqq), um += sc * m * sum(wq), mm += m * m * sum(w_sum);
      xu += sc * sum(wxq), xm += m * sum(wx);
    }
    if (!(uu > 0)) return false;
    const double determinant = uu * mm - um * um;
    if (!(determinant > 0)) return try_factors(through_half(xu / uu), 0);
    return try_factors(through_half((xu * mm - xm * um) / determinant),
                       through_half((um * xu - uu * xm) / determinant));
  }

  bool try_factors(float new_d, float new_dmin) {
    if (new_d == d && new_dmin == dmin) return false;
    std::array<Cost, kSubs> costs;
    for (size_t j = 0; j < kSubs; ++j) costs[j] = cost_of(j, new_d, new_dmin, scale[j], min[j]);
    if (!total(costs).improves(total(cost))) return false;
    d = new_d, dmin = new_dmin, cost = costs;
    return true;
  }

  void improve(const ScaleLimits& limits) {
    for (int i = 0; i < limits.rounds; ++i) {
      const bool scales = improve_scales(limits), factors = improve_factors();
      if (!scales && !factors) return;
    }
  }

  static Cost total(const std::array<Cost, kSubs>& costs) {
    Cost sum;
    for (const Cost& c : costs) sum += c;
    return sum;
  }

  /// The stored codes of all values, from 0 on.
  void codes(uint8_t* out) const {
    for (size_t j = 0; j < kSubs; ++j) {
      const float s = d * static_cast<float>(scale[j]), m = dmin * static_cast<float>(min[j]);
      const Lanes inverse = splat(s != 0 ? 1 / s : 0);
      for (size_t i = 0; i < N / 4; ++i) {
        const IntLanes q = Codes::index((x[j].lanes[i] + splat(m)) * inverse);
        for (size_t lane = 0; lane < 4; ++lane) *out++ = static_cast<uint8_t>(q[lane]);
      }
    }
  }
};

// --- Filling a block and choosing its scales -------------------------------------------------------------------------

/// How many of the highest (or lowest) integers are tried as that of the largest group.
inline constexpr int kStarts = 4;

inline float mean_square(const float* x) { return sum_of_squares(Values<256>::from(x)) / 256; }

/// Weights of an importance matrix: importance * sqrt(sigma2 + x^2) for the search, the importance alone as the plain
/// ones. The root keeps large values, of which few are seen, from counting by their square.
template <class Block>
void weigh_by_importance(Block& block, const float* importance, float sigma2) {
  for (size_t j = 0; j < std::size(block.x); ++j) {
    block.plain[j] = std::remove_reference_t<decltype(block.plain[j])>::from(importance + j * block.x[j].kLanes * 4);
    for (size_t i = 0; i < block.x[j].kLanes; ++i) {
      const Lanes v = block.x[j].lanes[i], root = splat(sigma2) + v * v;
      Lanes weight;
      for (size_t lane = 0; lane < 4; ++lane) weight[lane] = std::sqrt(root[lane]);
      block.w[j].lanes[i] = weight * block.plain[j].lanes[i];
    }
  }
}

template <class Block>
void load_values(Block& block, const float* x) {
  for (size_t j = 0; j < std::size(block.x); ++j) {
    block.x[j] = std::remove_reference_t<decltype(block.x[j])>::from(x + j * block.x[j].kLanes * 4);
    for (Lanes& one : block.plain[j].lanes) one = splat(1);
  }
}

/// w = x^2 + base * the group's mean square.
template <class Block>
void weigh_by_square(Block& block, float base = 0) {
  for (size_t j = 0; j < std::size(block.x); ++j) {
    const float count = static_cast<float>(4 * block.x[j].kLanes);
    const Lanes floor = splat(base * sum_of_squares(block.x[j]) / count);
    for (size_t i = 0; i < block.x[j].kLanes; ++i)
      block.w[j].lanes[i] = block.x[j].lanes[i] * block.x[j].lanes[i] + floor;
  }
}

/// The factor d from the group whose scale has the largest magnitude: it gets the lowest integer.
template <class Codes, class Block, size_t kTargets>
void choose_symmetric(Block& block, const std::array<float, kTargets>& targets, const ScaleLimits& limits) {
  std::array<Affine, std::size(Block{}.x)> fit{};
  float far = 0;
  for (size_t j = 0; j < fit.size(); ++j) {
    fit[j].scale = search_scale<Codes>(block.x[j], block.w[j], targets);
    if (std::fabs(fit[j].scale) > std::fabs(far)) far = fit[j].scale;
  }
  for (int k = 0; k < std::min(kStarts, 1 + limits.highest - limits.lowest); ++k)
    block.start(fit, limits, through_half(far / static_cast<float>(limits.lowest + k)), 0);
  block.improve(limits);
}

/// The one scale of a block of one group, from the same targets. Each is judged as f16 has it: beside one large value
/// all others get the code of 0, so that every target fits alike, and only what f16 makes of the scale differs.
template <class Codes, class Block, size_t kTargets>
void choose_one_scale(Block& block, const std::array<float, kTargets>& targets) {
  const auto &x = block.x[0], &w = block.w[0];
  block.scale[0] = 1;
  block.cost[0] = block.cost_of(0, 0, 0);
  const float far = extreme(x);
  if (!(std::fabs(far) >= kTiny)) return;
  const auto wx = product(w, x);
  for (const float target : targets) {
    const auto [xq, qq] = scale_sums<Codes>(x, w, wx, target / far);
    if (!(qq > 0)) continue;
    const float d = through_half(xq / qq);
    const Cost cost = block.cost_of(0, d, 0);
    if (cost.search < block.cost[0].search) block.d = d, block.cost[0] = cost;
  }
  block.improve({1, 1, 0});
}

/// One block of kValues values after the other; a block whose importance is all 0 is written as without importance.
template <void (*block)(const float*, uint8_t*, const float*), size_t kValues>
void each_block(const float* x, uint8_t* out, size_t n, const float* importance, size_t block_bytes) {
  std::array<float, kValues> floored;
  for (size_t i = 0; i < n; i += kValues, out += block_bytes) {
    const bool weighted = importance && floored_importance(importance + i, kValues, floored.data());
    block(x + i, out, weighted ? floored.data() : nullptr);
  }
}

}  // namespace fathom::quant_detail
