// Optimizer steps against formulas in double, from golden weights and gradients and from values by hand.
#include "train/optimizer.h"

#include <cmath>
#include <cstring>

#include "train/ema.h"
#include "train/train_testing.h"

namespace fathom {
namespace {

/// Passes for a backend's product.
constexpr auto kPlainMultiplyAdd = [](float* c, size_t c_stride, const float* a, size_t a_row, size_t a_col,
                                      const float* b, size_t b_stride, size_t M, size_t N, size_t K) {
  for (size_t m = 0; m < M; ++m)
    for (size_t k = 0; k < K; ++k)
      for (size_t n = 0; n < N; ++n)
        c[m * c_stride + n] = std::fma(a[m * a_row + k * a_col], b[k * b_stride + n], c[m * c_stride + n]);
};

struct DoubleMatrix {
  size_t rows, columns;
  std::vector<double> values;
  double& at(size_t r, size_t c) { return values[r * columns + c]; }
  double at(size_t r, size_t c) const { return values[r * columns + c]; }
};

DoubleMatrix transpose(const DoubleMatrix& x) {
  DoubleMatrix y{x.columns, x.rows, std::vector<double>(x.values.size())};
  for (size_t r = 0; r < x.rows; ++r)
    for (size_t c = 0; c < x.columns; ++c) y.at(c, r) = x.at(r, c);
  return y;
}

DoubleMatrix product(const DoubleMatrix& a, const DoubleMatrix& b) {
  DoubleMatrix y{a.rows, b.columns, std::vector<double>(a.rows * b.columns)};
  for (size_t r = 0; r < a.rows; ++r)
    for (size_t k = 0; k < a.columns; ++k)
      for (size_t c = 0; c < b.columns; ++c) y.at(r, c) += a.at(r, k) * b.at(k, c);
  return y;
}

/// The definition, in double and for the wide matrix: x = a x + (b s + c s s) x with s = x x^T.
DoubleMatrix orthogonalised(DoubleMatrix x) {
  if (x.rows > x.columns) return transpose(orthogonalised(transpose(x)));
  double norm = 0;
  for (const double v : x.values) norm += v * v;
  for (double& v : x.values) v /= std::sqrt(norm) + 1e-7;
  for (int i = 0; i < 5; ++i) {
    const DoubleMatrix s = product(x, transpose(x)), ss = product(s, s);
    DoubleMatrix p = s;
    for (size_t j = 0; j < p.values.size(); ++j) p.values[j] = -4.7750 * s.values[j] + 2.0315 * ss.values[j];
    DoubleMatrix next = product(p, x);
    for (size_t j = 0; j < x.values.size(); ++j) next.values[j] += 3.4445 * x.values[j];
    x = next;
  }
  return x;
}

/// An optimizer of one parameter as the formulas have it, in double.
struct Reference {
  bool muon, decayed;
  DoubleMatrix p, m, v;

  void step(std::span<const float> gradient, double lr, double scale, double wd, int t) {
    if (decayed)
      for (double& x : p.values) x *= 1 - lr * wd;
    DoubleMatrix ahead = p;
    for (size_t i = 0; i < p.values.size(); ++i) {
      const double g = gradient[i] * scale;
      if (muon) {
        m.values[i] = 0.95 * m.values[i] + g;
        ahead.values[i] = g + 0.95 * m.values[i];
        continue;
      }
      m.values[i] = 0.9 * m.values[i] + 0.1 * g;
      v.values[i] = 0.95 * v.values[i] + 0.05 * g * g;
      const double first = m.values[i] / (1 - std::pow(0.9, t)), second = v.values[i] / (1 - std::pow(0.95, t));
      p.values[i] -= lr * first / (std::sqrt(second) + 1e-8);
    }
    if (!muon) return;
    const DoubleMatrix o = orthogonalised(ahead);
    const double rate = lr * 0.2 * std::sqrt(static_cast<double>(std::max(p.rows, p.columns)));
    for (size_t i = 0; i < p.values.size(); ++i) p.values[i] -= rate * o.values[i];
  }
};

Reference reference_of(const Parameter& p, bool muon) {
  const std::span<const float> values = p.value.span<const float>();
  const size_t columns = p.value.shape().back(), rows = values.size() / columns;
  const DoubleMatrix zero{rows, columns, std::vector<double>(values.size())};
  return {muon && p.hidden_matrix, p.decayed, {rows, columns, {values.begin(), values.end()}}, zero, zero};
}

/// Largest |want - got|.
double error_of(const DoubleMatrix& want, const Tensor& got) {
  const std::span<const float> values = got.span<const float>();
  double worst = 0;
  for (size_t i = 0; i < values.size(); ++i) worst = std::max(worst, std::abs(want.values[i] - values[i]));
  return worst;
}

/// The trained parameters of a golden model, with its gradients in the same order.
struct Golden {
  std::vector<Parameter> parameters;
  std::vector<Tensor> gradients;
};

Golden load_golden(const SafetensorsFile& golden, const SafetensorsFile& model) {
  Golden out;
  const std::string prefix = "grad.";
  for (const StoredRange& range : golden.ranges()) {
    if (!range.info.name.starts_with(prefix)) continue;
    const std::string name = range.info.name.substr(prefix.size());
    const Tensor stored = model.tensor(name), gradient = golden.tensor(range.info.name);
    out.parameters.push_back(make_parameter(name, from_values(stored.span<const float>(), stored.shape())));
    out.gradients.push_back(from_values(gradient.span<const float>(), gradient.shape()));
  }
  return out;
}

void expect_same(const NamedTensors& a, const NamedTensors& b) {
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) {
    ASSERT_EQ(a[i].first, b[i].first);
    EXPECT_EQ(0, std::memcmp(a[i].second.bytes(), b[i].second.bytes(), a[i].second.size_bytes())) << a[i].first;
  }
}

TEST(Parameters, RulesByName) {
  struct Row {
    const char* name;
    Shape shape;
    bool decayed, hidden;
  };
  for (const Row& row : {Row{"model.embed_tokens.weight", {64, 32}, true, false},
                         {"lm_head.weight", {64, 32}, true, false},
                         {"model.norm.weight", {32}, false, false},
                         {"model.layers.0.self_attn.q_proj.weight", {32, 32}, true, true},
                         {"model.layers.0.self_attn.q_proj.bias", {32}, false, false},
                         {"model.layers.0.self_attn.kv_a_layernorm.weight", {12}, false, false},
                         {"model.layers.1.mlp.gate.weight", {8, 32}, true, false},
                         {"model.layers.1.mlp.gate_proj.weight", {48, 32}, true, true},
                         {"model.layers.1.mlp.experts.0.down_proj.weight", {32, 16}, true, true},
                         {"model.layers.2.eh_proj.weight", {32, 64}, true, true}}) {
    const Parameter p = make_parameter(row.name, zeros(DType::kF32, row.shape));
    EXPECT_EQ(row.decayed, p.decayed) << row.name;
    EXPECT_EQ(row.hidden, p.hidden_matrix) << row.name;
  }
}

TEST(AdamW, ThreeStepsByHand) {
  std::vector<float> p{1, -2}, m(2), v(2);
  const std::vector<float> gradients[] = {{0.1F, -0.2F}, {0.3F, 0}, {-0.1F, 0.5F}};
  const double want[][2] = {{0.989000001, -1.9880000005}, {0.97892408, -1.97922552}, {0.97310670, -1.98118453}};
  ThreadPool pool(1);
  for (uint64_t t = 1; t <= 3; ++t) {
    const AdamWStep step{.learning_rate = 0.01, .weight_decay = 0.1, .number = t};
    adamw_update(p, gradients[t - 1], m, v, step, pool);
    for (size_t i = 0; i < 2; ++i) EXPECT_NEAR(want[t - 1][i], p[i], 1.5e-7) << "step " << t;
  }
}

TEST(AdamW, ClipFactor) {
  EXPECT_EQ(1.0F, clip_factor(0.5, 1));
  EXPECT_EQ(static_cast<float>(1 / (4.0 + 1e-6)), clip_factor(4, 1));
  EXPECT_EQ(1.0F, clip_factor(0, 0.2));
}

TEST(Optimizer, OneStepFromGoldenGradients) {
  const std::vector<std::filesystem::path> folders = testing::golden_train_folders();
  if (folders.empty()) GTEST_SKIP() << "needs golden/train";
  ThreadPool pool(1);
  for (const std::filesystem::path& folder : folders)
    for (const bool muon : {false, true}) {
      SCOPED_TRACE(cat(folder.string(), muon ? " muon" : " adamw"));
      const SafetensorsFile golden(folder / "golden.safetensors"), model(folder / "model.safetensors");
      const auto [parameters, gradients] = load_golden(golden, model);
      const double want_norm = testing::floats_of(golden, muon ? "muon.grad_norm" : "adamw.grad_norm")[0];
      const double norm = gradient_norm(gradients, pool);
      EXPECT_NEAR(want_norm, norm, 1e-5 * norm);
      const float scale = clip_factor(norm, 1);
      std::vector<Reference> want;
      for (size_t i = 0; i < parameters.size(); ++i) {
        want.push_back(reference_of(parameters[i], muon));
        want.back().step(gradients[i].span<const float>(), 1e-2, 1 / (norm + 1e-6), 0.1, 1);
      }
      Optimizer optimizer(parameters, {.muon = muon});
      optimizer.step(gradients, 1e-2, scale, pool, kPlainMultiplyAdd);
      for (size_t i = 0; i < parameters.size(); ++i)
        EXPECT_LT(error_of(want[i].p, parameters[i].value), 1e-6) << parameters[i].name;
    }
}

/// Tall, wide, longer than a block, no matrix.
std::vector<Parameter> made_up_parameters() {
  std::vector<Parameter> out;
  for (const auto& [name, shape] : {std::pair<const char*, Shape>{"model.layers.0.mlp.up_proj.weight", {40, 12}},
                                    {"model.layers.0.mlp.down_proj.weight", {12, 40}},
                                    {"model.embed_tokens.weight", {900, 41}},
                                    {"model.norm.weight", {77}}})
    out.push_back(make_parameter(name, from_values(testing::random_floats(shape.count(), out.size() + 1), shape)));
  return out;
}

std::vector<Tensor> made_up_gradients(const std::vector<Parameter>& parameters, uint64_t seed) {
  std::vector<Tensor> out;
  for (const Parameter& p : parameters)
    out.push_back(from_values(testing::random_floats(p.value.count(), 100 * seed + out.size()), p.value.shape()));
  return out;
}

TEST(Optimizer, SeveralStepsFollowTheFormulas) {
  ThreadPool pool(2);
  for (const bool muon : {false, true}) {
    const std::vector<Parameter> parameters = made_up_parameters();
    std::vector<Reference> want;
    for (const Parameter& p : parameters) want.push_back(reference_of(p, muon));
    Optimizer optimizer(parameters, {.muon = muon, .weight_decay = 0.3});
    for (int t = 1; t <= 5; ++t) {
      const std::vector<Tensor> gradients = made_up_gradients(parameters, static_cast<uint64_t>(t));
      optimizer.step(gradients, 0.02 / t, 0.25F, pool, kPlainMultiplyAdd);
      for (size_t i = 0; i < want.size(); ++i) want[i].step(gradients[i].span<const float>(), 0.02 / t, 0.25, 0.3, t);
    }
    EXPECT_EQ(5u, optimizer.steps());
    for (size_t i = 0; i < parameters.size(); ++i)
      EXPECT_LT(error_of(want[i].p, parameters[i].value), 3e-6) << parameters[i].name << (muon ? " muon" : " adamw");
  }
}

TEST(Optimizer, ThreadsChangeNoBitAndAStateResumes) {
  for (const bool muon : {false, true}) {
    const auto all_of = [](const Optimizer& optimizer, const Ema& ema) {
      NamedTensors all = optimizer.state();
      for (const Parameter& p : optimizer.parameters()) all.emplace_back(p.name, p.value);
      for (const auto& named : ema.state()) all.push_back(named);
      return all;
    };
    const auto run = [&](size_t threads, int stop_after) {
      ThreadPool pool(threads);
      auto optimizer = std::make_unique<Optimizer>(made_up_parameters(), OptimizerOptions{.muon = muon});
      auto ema = std::make_unique<Ema>(optimizer->parameters(), 0.75);
      for (int t = 1; t <= 3; ++t) {
        const std::vector<Tensor> gradients = made_up_gradients(optimizer->parameters(), static_cast<uint64_t>(t));
        const float scale = clip_factor(gradient_norm(gradients, pool), 1);
        optimizer->step(gradients, 0.01, scale, pool, kPlainMultiplyAdd);
        ema->update(pool);
        if (t != stop_after) continue;
        // Others in the place of both, with the values of this state.
        const NamedTensors old = all_of(*optimizer, *ema);
        auto next = std::make_unique<Optimizer>(made_up_parameters(), OptimizerOptions{.muon = muon});
        auto next_ema = std::make_unique<Ema>(next->parameters(), 0.75);
        const NamedTensors live = all_of(*next, *next_ema);
        for (size_t i = 0; i < live.size(); ++i)
          std::memcpy(live[i].second.bytes(), old[i].second.bytes(), old[i].second.size_bytes());
        optimizer = std::move(next);
        ema = std::move(next_ema);
      }
      return all_of(*optimizer, *ema);
    };
    const NamedTensors want = run(1, 0);
    expect_same(want, run(3, 0));
    expect_same(want, run(2, 2));
  }
}

TEST(Muon, TallAndWideAreOneComputation) {
  ThreadPool pool(1);
  const std::vector<float> tall = testing::random_floats(21 * 8, 3);
  std::vector<float> wide(tall.size());
  for (size_t r = 0; r < 21; ++r)
    for (size_t c = 0; c < 8; ++c) wide[c * 21 + r] = tall[r * 8 + c];
  const std::vector<float> a = newton_schulz(tall, 21, 8, pool, kPlainMultiplyAdd);
  const std::vector<float> b = newton_schulz(wide, 8, 21, pool, kPlainMultiplyAdd);
  for (size_t r = 0; r < 21; ++r)
    for (size_t c = 0; c < 8; ++c) ASSERT_EQ(a[r * 8 + c], b[c * 21 + r]);
  double trace = 0;  // of o^T o: the sum of 8 squared singular values, each near 1
  for (const float v : a) trace += static_cast<double>(v) * v;
  EXPECT_GT(trace, 8 * 0.45);
  EXPECT_LT(trace, 8 * 1.5);
  EXPECT_EQ(std::vector<float>(12), newton_schulz(std::vector<float>(12), 3, 4, pool, kPlainMultiplyAdd));
}

TEST(Ema, AveragesByTheFormula) {
  ThreadPool pool(1);
  const Tensor w = from_values(std::vector<float>{1, -4}, {2});
  Ema ema({make_parameter("w", w)}, 0.75);
  w.data<float>()[0] = 3;
  ema.update(pool);
  const NamedTensors state = ema.state();
  ASSERT_EQ(1u, state.size());
  EXPECT_EQ("ema.w", state[0].first);
  EXPECT_EQ(1.5F, state[0].second.data<float>()[0]);  // 0.75 * 1 + 0.25 * 3
  EXPECT_EQ(-4.0F, state[0].second.data<float>()[1]);
  ema.update(pool);
  EXPECT_EQ(1.875F, state[0].second.data<float>()[0]);
}

}  // namespace
}  // namespace fathom
