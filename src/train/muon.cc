#include "train/muon.h"

#include <cmath>

#include "base/error.h"
#include "train/blocks.h"

namespace fathom {
namespace {

constexpr float kA = 3.4445F, kB = -4.7750F, kC = 2.0315F;
constexpr int kIterations = 5;

/// [rows, columns] -> [columns, rows]
std::vector<float> transposed(std::span<const float> x, size_t rows, size_t columns) {
  std::vector<float> out(x.size());
  constexpr size_t kTile = 32;  // both sides stay in the cache
  for (size_t r0 = 0; r0 < rows; r0 += kTile)
    for (size_t c0 = 0; c0 < columns; c0 += kTile)
      for (size_t r = r0; r < std::min(rows, r0 + kTile); ++r)
        for (size_t c = c0; c < std::min(columns, c0 + kTile); ++c) out[c * rows + r] = x[r * columns + c];
  return out;
}

/// y [L, S] with L >= S; kept tall so that no product needs a transposed copy: s = y^T y reads y as both operands, and
/// p is symmetric, so that (p y^T)^T = y p.
std::vector<float> orthogonalise_tall(std::vector<float> y, size_t L, size_t S, ThreadPool& pool,
                                      MultiplyAdd multiply_add) {
  const float norm = static_cast<float>(std::sqrt(sum_of_squares(pool, y))) + 1e-7F;
  for_blocks(pool, y.size(), [&](size_t begin, size_t end) {
    for (size_t i = begin; i < end; ++i) y[i] = y[i] / norm;
  });
  std::vector<float> next(L * S), s(S * S), p(S * S);
  for (int iteration = 0; iteration < kIterations; ++iteration) {
    std::fill(s.begin(), s.end(), 0.0F);
    multiply_add(s.data(), S, y.data(), 1, S, y.data(), S, S, S, L);
    std::fill(p.begin(), p.end(), 0.0F);
    multiply_add(p.data(), S, s.data(), S, 1, s.data(), S, S, S, S);
    for_blocks(pool, p.size(), [&](size_t begin, size_t end) {
      for (size_t i = begin; i < end; ++i) p[i] = kB * s[i] + kC * p[i];
    });
    for_blocks(pool, y.size(), [&](size_t begin, size_t end) {
      for (size_t i = begin; i < end; ++i) next[i] = kA * y[i];
    });
    multiply_add(next.data(), S, y.data(), S, 1, p.data(), S, L, S, S);
    y.swap(next);
  }
  return y;
}

}  // namespace

std::vector<float> newton_schulz(std::span<const float> g, size_t rows, size_t columns, ThreadPool& pool,
                                 MultiplyAdd multiply_add) {
  check(g.size() == rows * columns, "newton_schulz of a matrix of another size");
  if (rows >= columns)
    return orthogonalise_tall(std::vector<float>(g.begin(), g.end()), rows, columns, pool, multiply_add);
  return transposed(orthogonalise_tall(transposed(g, rows, columns), columns, rows, pool, multiply_add), columns, rows);
}

void muon_update(std::span<float> p, std::span<const float> gradient, std::span<float> m, size_t rows, size_t columns,
                 const MuonStep& step, ThreadPool& pool, MultiplyAdd multiply_add) {
  check(p.size() == rows * columns && gradient.size() == p.size() && m.size() == p.size(),
        "muon_update of matrices of different sizes");
  std::vector<float> ahead(p.size());
  for_blocks(pool, p.size(), [&](size_t begin, size_t end) {
    for (size_t i = begin; i < end; ++i) {
      const float g = gradient[i] * step.scale;
      m[i] = step.momentum * m[i] + g;
      ahead[i] = g + step.momentum * m[i];
    }
  });
  const std::vector<float> o = newton_schulz(ahead, rows, columns, pool, multiply_add);
  for_blocks(pool, p.size(), [&](size_t begin, size_t end) {
    for (size_t i = begin; i < end; ++i) {
      p[i] = p[i] * step.decay;
      p[i] = p[i] - step.rate * o[i];
    }
  });
}

}  // namespace fathom
