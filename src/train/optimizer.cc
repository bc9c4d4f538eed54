#include "train/optimizer.h"

#include <algorithm>
#include <cmath>

#include "train/blocks.h"

namespace fathom {
namespace {

/// base^n by squaring: the same bits on every machine.
double power(double base, uint64_t n) {
  double result = 1;
  for (; n; n >>= 1, base *= base)
    if (n & 1) result *= base;
  return result;
}

/// What a step computes with, each rounded to f32 once.
struct AdamWConstants {
  explicit AdamWConstants(const AdamWStep& step)
      : scale(step.scale),
        beta1(static_cast<float>(step.beta1)),
        rest1(static_cast<float>(1 - step.beta1)),
        beta2(static_cast<float>(step.beta2)),
        rest2(static_cast<float>(1 - step.beta2)),
        correction1(static_cast<float>(1 - power(step.beta1, step.number))),
        correction2(static_cast<float>(1 - power(step.beta2, step.number))),
        decay(static_cast<float>(1 - step.learning_rate * step.weight_decay)),  // exactly 1 without decay
        rate(static_cast<float>(step.learning_rate)),
        eps(static_cast<float>(step.eps)) {}
  float scale, beta1, rest1, beta2, rest2, correction1, correction2, decay, rate, eps;
};

/// The update of N values. The root has a loop of its own, since its errno keeps compilers from vectorising what shares
/// a loop with it: 3 ns a value instead of 17 for N = 64 on Zen.
template <size_t N>
void adamw_values(float* __restrict p, const float* __restrict gradient, float* __restrict m, float* __restrict v,
                  const AdamWConstants& c) {
  float step[N], root[N];
  for (size_t i = 0; i < N; ++i) {
    const float g = gradient[i] * c.scale;
    const float first = c.beta1 * m[i] + c.rest1 * g, second = c.beta2 * v[i] + c.rest2 * g * g;
    m[i] = first;
    v[i] = second;
    step[i] = c.rate * (first / c.correction1);
    root[i] = second / c.correction2;
  }
  for (size_t i = 0; i < N; ++i) root[i] = std::sqrt(root[i]);
  for (size_t i = 0; i < N; ++i) p[i] = p[i] * c.decay - step[i] / (root[i] + c.eps);
}

}  // namespace

double gradient_norm(std::span<const Tensor> gradients, ThreadPool& pool) {
  double sum = 0;
  for (const Tensor& g : gradients) sum += sum_of_squares(pool, g.span<const float>());
  return std::sqrt(sum);
}

float clip_factor(double norm, double clip) { return static_cast<float>(std::min(1.0, clip / (norm + 1e-6))); }

void adamw_update(std::span<float> p, std::span<const float> gradient, std::span<float> m, std::span<float> v,
                  const AdamWStep& step, ThreadPool& pool) {
  check(gradient.size() == p.size() && m.size() == p.size() && v.size() == p.size(), "AdamW over different lengths");
  check(step.number >= 1, "AdamW's steps count from 1");
  const AdamWConstants constants(step);
  constexpr size_t kValues = 64;
  for_blocks(pool, p.size(), [&](size_t begin, size_t end) {
    const AdamWConstants c = constants;
    size_t i = begin;
    for (; i + kValues <= end; i += kValues) adamw_values<kValues>(&p[i], &gradient[i], &m[i], &v[i], c);
    for (; i < end; ++i) adamw_values<1>(&p[i], &gradient[i], &m[i], &v[i], c);
  });
}

Optimizer::Optimizer(std::vector<Parameter> parameters, const OptimizerOptions& options)
    : parameters_(std::move(parameters)), options_(options), steps_(zeros(DType::kI64, {1})) {
  std::vector<std::string_view> names;
  for (const Parameter& p : parameters_) {
    names.push_back(p.name);
    moments_.push_back(
        {zeros(DType::kF32, p.value.shape()), by_muon(p) ? Tensor() : zeros(DType::kF32, p.value.shape())});
  }
  std::sort(names.begin(), names.end());
  check(std::adjacent_find(names.begin(), names.end()) == names.end(), "two parameters of one name");
}

void Optimizer::step(std::span<const Tensor> gradients, double learning_rate, float scale, ThreadPool& pool,
                     MultiplyAdd multiply_add) {
  check(gradients.size() == parameters_.size(), "one gradient for each parameter");
  const int64_t number = ++*steps_.data<int64_t>();
  for (size_t i = 0; i < parameters_.size(); ++i) {
    const Parameter& p = parameters_[i];
    check(gradients[i].shape() == p.value.shape(), "a gradient of its parameter's shape");
    const double weight_decay = p.decayed ? options_.weight_decay : 0;
    const std::span<float> values = p.value.span<float>(), first = moments_[i].first.span<float>();
    const std::span<const float> gradient = gradients[i].span<const float>();
    if (!by_muon(p)) {
      const AdamWStep adamw{learning_rate, options_.beta1, options_.beta2,
                            options_.eps,  weight_decay,   static_cast<uint64_t>(number),
                            scale};
      adamw_update(values, gradient, first, moments_[i].second.span<float>(), adamw, pool);
      continue;
    }
    const size_t rows = p.value.dim(0), columns = p.value.dim(1);
    const double rate = learning_rate * 0.2 * std::sqrt(static_cast<double>(std::max(rows, columns)));
    const MuonStep muon{static_cast<float>(options_.momentum), scale,
                        static_cast<float>(1 - learning_rate * weight_decay), static_cast<float>(rate)};
    muon_update(values, gradient, first, rows, columns, muon, pool, multiply_add);
  }
}

uint64_t Optimizer::steps() const { return static_cast<uint64_t>(*steps_.data<int64_t>()); }

NamedTensors Optimizer::state() const {
  NamedTensors state{{"optimizer.steps", steps_}};
  for (size_t i = 0; i < parameters_.size(); ++i) {
    const std::string& name = parameters_[i].name;
    if (by_muon(parameters_[i])) {
      state.emplace_back("muon.momentum." + name, moments_[i].first);
      continue;
    }
    state.emplace_back("adamw.m." + name, moments_[i].first);
    state.emplace_back("adamw.v." + name, moments_[i].second);
  }
  return state;
}

}  // namespace fathom
