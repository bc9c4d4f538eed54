#include "train/divergence.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "train/exp.h"

namespace fathom {
namespace {

constexpr float kNothing = -std::numeric_limits<float>::infinity();

/// p (difference of logarithms), 0 where nothing is expected.
double term(double p, double difference) { return p == 0 ? 0 : p * difference; }

/// Room for a row; each call of a thread has the same.
std::span<float> scratch(size_t n) {
  thread_local std::vector<float> room;
  if (room.size() < n) room.resize(n);
  return {room.data(), n};
}

/// The k largest, ascending ids; of equal ones the lower ids.
std::vector<size_t> largest(std::span<const float> x, size_t k) {
  const std::span<float> sorted = scratch(x.size());
  std::copy(x.begin(), x.end(), sorted.begin());
  const auto kth = sorted.begin() + static_cast<std::ptrdiff_t>(k - 1);
  std::nth_element(sorted.begin(), kth, sorted.end(), std::greater<>());
  const float least = *kth;
  auto equal = k - static_cast<size_t>(std::count_if(x.begin(), x.end(), [&](float v) { return v > least; }));
  std::vector<size_t> ids;
  for (size_t v = 0; v < x.size(); ++v)
    if (x[v] > least || (x[v] == least && equal > 0 && equal-- > 0)) ids.push_back(v);
  return ids;
}

/// Every token is an outcome. l_sum, t_sum: log-sum-exps of the two rows.
double of_all(const Kernels& k, std::span<float> l, std::span<const float> t, float l_sum, float t_sum, bool forward,
              float w) {
  const size_t V = l.size();
  const std::span<float> p = scratch(V);  // of whom the mean is taken
  forward ? k.exp_scaled(p.data(), t.data(), V, t_sum, 1) : k.exp_scaled(p.data(), l.data(), V, l_sum, 1);
  const auto student_above = [&](size_t v) {  // log q - log p
    return static_cast<double>((l[v] - l_sum) - (t[v] - t_sum));
  };
  double sum = 0;
  for (size_t v = 0; v < V; ++v) sum += term(p[v], forward ? -student_above(v) : student_above(v));
  if (forward) {
    k.exp_scaled(l.data(), l.data(), V, l_sum, w);
    for (size_t v = 0; v < V; ++v) l[v] -= w * p[v];
  } else {
    for (size_t v = 0; v < V; ++v) l[v] = static_cast<float>(w * term(p[v], student_above(v) - sum));
  }
  return sum;
}

/// The teacher's k most likely tokens are outcomes, and all others together.
double of_top(const Kernels& k, std::span<float> l, std::span<float> t, float l_sum, float t_sum,
              const DivergenceOptions& options, float w) {
  const std::vector<size_t> ids = largest(t, options.top_k);
  std::vector<double> log_q, log_p;
  for (const size_t v : ids) {
    log_q.push_back(l[v] - l_sum), log_p.push_back(t[v] - t_sum);
    l[v] = t[v] = kNothing;
  }
  const float l_rest = k.log_sum_exp(l.data(), l.size());
  log_q.push_back(l_rest - l_sum), log_p.push_back(k.log_sum_exp(t.data(), t.size()) - t_sum);

  const bool forward = options.divergence == Divergence::kForward;
  std::vector<double> factors;  // d divergence / d log of an outcome, seen from the student's softmax
  double sum = 0;
  for (size_t i = 0; i < log_q.size(); ++i) {
    const double p = exp_any(log_p[i]), q = exp_any(log_q[i]), student_above = log_q[i] - log_p[i];
    sum += forward ? term(p, -student_above) : term(q, student_above);
    factors.push_back(forward ? q - p : student_above);
  }
  if (!forward)
    for (size_t i = 0; i < factors.size(); ++i) factors[i] = term(exp_any(log_q[i]), factors[i] - sum);
  k.exp_scaled(l.data(), l.data(), l.size(), l_rest, static_cast<float>(w * factors.back()));
  for (size_t i = 0; i < ids.size(); ++i) l[ids[i]] = static_cast<float>(w * factors[i]);
  return sum;
}

}  // namespace

double divergence(const Kernels& kernels, std::span<float> student, std::span<float> teacher,
                  const DivergenceOptions& options, float w) {
  if (options.temperature != 1)
    for (const std::span<float> row : {student, teacher})
      for (float& x : row) x /= options.temperature;
  const float l_sum = kernels.log_sum_exp(student.data(), student.size()),
              t_sum = kernels.log_sum_exp(teacher.data(), teacher.size());
  if (!std::isfinite(l_sum) || !std::isfinite(t_sum)) {
    std::fill(student.begin(), student.end(), 0.0F);
    return std::numeric_limits<double>::quiet_NaN();
  }
  w /= options.temperature;
  if (options.top_k == 0 || options.top_k >= student.size())
    return of_all(kernels, student, teacher, l_sum, t_sum, options.divergence == Divergence::kForward, w);
  return of_top(kernels, student, teacher, l_sum, t_sum, options, w);
}

}  // namespace fathom
