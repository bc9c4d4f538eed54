// Every op that records a backward, against central differences in double (law 1's other half). The loss is a fixed
// random weighting of the outputs, so that no gradient is trivially uniform.
#include <set>

#include "autograd/finite_difference.h"
#include "ops/attention.h"
#include "ops/elementwise.h"
#include "ops/linear.h"
#include "ops/log_probs.h"
#include "ops/moe.h"
#include "ops/recompute.h"
#include "ops/rope.h"
#include "tests/testing.h"

namespace fathom {
namespace {

Tensor random_f64(const Shape& shape, uint64_t seed) {
  Tensor t = make_tensor(DType::kF64, shape);
  const std::vector<float> values = testing::random_floats(t.count(), seed);
  std::copy(values.begin(), values.end(), t.data<double>());
  return t;
}

double dot(const Tensor& a, const Tensor& b) {
  double sum = 0;
  for (size_t i = 0; i < a.count(); ++i) sum += a.data<double>()[i] * b.data<double>()[i];
  return sum;
}

class GradientsTest : public ::testing::Test {
 protected:
  std::unique_ptr<Backend> backend_ = make_cpu_backend(2);
  Tape tape_;
  Gradients grads_;

  /// Runs `forward` with a tape, sends back the weighting, and keeps it for `loss`.
  void run(const std::function<Tensor(Context&)>& forward) {
    forward_ = forward;
    Context ctx{.backend = *backend_, .tape = &tape_};
    const Tensor y = forward(ctx);
    weighting_ = random_f64(y.shape(), 99);
    tape_.backward(y, weighting_, grads_);
  }
  void expect_gradient(const Tensor& x, const Tensor& analytic, const char* what) {
    const auto loss = [&] {
      Context ctx{.backend = *backend_};
      return dot(forward_(ctx), weighting_);
    };
    EXPECT_LT(gradient_error(x, analytic, loss), 1e-8) << what;
  }

 private:
  std::function<Tensor(Context&)> forward_;
  Tensor weighting_;
};

TEST_F(GradientsTest, Linear) {
  const Tensor x = random_f64({5, 7}, 1), values = random_f64({19, 7}, 2), bias = random_f64({19}, 3);
  const Weight fixed("w", values);
  run([&](Context& ctx) {
    // With a tape the recorded step holds a pointer to the weight; without one it is packed anew from changed values.
    if (ctx.tape) return linear(ctx, x, fixed, &bias);
    return linear(ctx, x, Weight("w", values), &bias);
  });
  expect_gradient(x, grads_.of(x), "input");
  expect_gradient(values, grads_.of(fixed), "weight");
  expect_gradient(bias, grads_.of(bias), "bias");
}

TEST_F(GradientsTest, RmsNorm) {
  const Tensor x = random_f64({4, 21}, 1), w = random_f64({21}, 2);
  run([&](Context& ctx) { return rms_norm(ctx, x, w, 1e-5f); });
  expect_gradient(x, grads_.of(x), "input");
  expect_gradient(w, grads_.of(w), "weight");
}

TEST_F(GradientsTest, SiluMul) {
  const Tensor gate = random_f64({3, 11}, 1), up = random_f64({3, 11}, 2);
  run([&](Context& ctx) { return silu_mul(ctx, gate, up); });
  expect_gradient(gate, grads_.of(gate), "gate");
  expect_gradient(up, grads_.of(up), "up");
}

TEST_F(GradientsTest, AddAndAValueUsedTwice) {
  const Tensor a = random_f64({2, 5}, 1), b = random_f64({2, 5}, 2);
  run([&](Context& ctx) { return add(ctx, add(ctx, a, b), a); });
  expect_gradient(a, grads_.of(a), "a");
  expect_gradient(b, grads_.of(b), "b");
}

TEST_F(GradientsTest, EmbedWithRepeatedIds) {
  const Tensor table = random_f64({6, 4}, 1), ids = from_ids(std::vector<int32_t>{3, 0, 3, 5});
  const Weight fixed("embed", table);
  run([&](Context& ctx) {
    if (ctx.tape) return embed(ctx, ids, fixed);
    return embed(ctx, ids, Weight("embed", table));
  });
  expect_gradient(table, grads_.of(fixed), "table");
}

TEST_F(GradientsTest, AWholeFeedForward) {
  const Tensor x = random_f64({3, 6}, 1), norm = random_f64({6}, 2);
  const Weight gate("gate", random_f64({9, 6}, 3)), up("up", random_f64({9, 6}, 4)),
      down("down", random_f64({6, 9}, 5));
  run([&](Context& ctx) {
    const LinearInput in(ctx, rms_norm(ctx, x, norm, 1e-6f));
    const Tensor h = silu_mul(ctx, linear(ctx, in, gate), linear(ctx, in, up));
    return add(ctx, x, linear(ctx, h, down));
  });
  expect_gradient(x, grads_.of(x), "input");
  expect_gradient(norm, grads_.of(norm), "norm");
}

TEST_F(GradientsTest, RopeInBothLayoutsAtAnOffset) {
  const Tensor x = random_f64({3, 2 * 10}, 1), positions = from_ids(std::vector<int32_t>{0, 3, 70});
  for (const bool interleaved : {false, true}) {
    const RopeTable table{from_values(std::vector<float>{1, 0.1f, 0.01f}, {3}), 1.1f, interleaved};
    run([&](Context& ctx) { return rope(ctx, x, 2, rope_angles(ctx, positions, table), 4); });
    expect_gradient(x, grads_.of(x), interleaved ? "neighbours" : "halves");
    grads_.forget(x);
  }
}

TEST_F(GradientsTest, AttentionOfGroupsOverBlocks) {
  // Two sequences; the first reaches into a second block of 64.
  const size_t heads = 4, kv_heads = 2, d = 3, T = 70 + 5;
  const std::vector<SequenceRows> rows = {{0, 70, 0, nullptr}, {70, 5, 0, nullptr}};
  const Tensor q = random_f64({T, heads * d}, 1), k = random_f64({T, kv_heads * d}, 2),
               v = random_f64({T, kv_heads * d}, 3);
  run([&](Context& ctx) { return attention(ctx, q, k, v, rows, {}, heads, kv_heads, 0.6f); });
  expect_gradient(q, grads_.of(q), "q");
  expect_gradient(k, grads_.of(k), "k");
  expect_gradient(v, grads_.of(v), "v");
}

TEST_F(GradientsTest, AttentionOverLatents) {
  const size_t heads = 3, latent = 4, pe = 2, T = 66;
  const std::vector<SequenceRows> rows = {{0, T, 0, nullptr}};
  const Tensor q = random_f64({T, heads * (latent + pe)}, 1), row = random_f64({T, latent + pe}, 2);
  run([&](Context& ctx) { return attention_mla(ctx, q, row, rows, {}, heads, latent, 0.5f); });
  expect_gradient(q, grads_.of(q), "q");
  expect_gradient(row, grads_.of(row), "latent row: key and value");
}

TEST_F(GradientsTest, HeadLinearsAndColumns) {
  const size_t heads = 2, T = 4;
  const Tensor x = random_f64({T, heads * 5}, 1);
  const std::vector<Tensor> values = {random_f64({6, 3}, 2), random_f64({6, 3}, 3)};
  const std::vector<Weight> fixed = {Weight("a", values[0]), Weight("b", values[1])};
  run([&](Context& ctx) {
    const Tensor y = ctx.make(DType::kF64, {T, heads * 8});
    const std::vector<Weight> now = {Weight("a", values[0]), Weight("b", values[1])};
    head_linears(ctx, y, x, 1, ctx.tape ? std::span<const Weight>(fixed) : std::span<const Weight>(now));
    copy_columns(ctx, y, x, {.y_column = 6, .y_step = 8, .x_column = 0, .x_step = 5, .groups = heads, .n = 2});
    return y;
  });
  expect_gradient(x, grads_.of(x), "input, read by both");
  for (size_t h = 0; h < heads; ++h) expect_gradient(values[h], grads_.of(fixed[h]), "a head's weight");
}

TEST_F(GradientsTest, TakeRowsSomeTwice) {
  const Tensor x = random_f64({5, 3}, 1), rows = from_ids(std::vector<int32_t>{4, 1, 1, 0});
  run([&](Context& ctx) { return take_rows(ctx, x, rows); });
  expect_gradient(x, grads_.of(x), "x");
}

/// Every gating: softmax or sigmoid, groups, normalised or not; experts chosen by the router, or kept from elsewhere.
/// Steps of 1e-5 change no choice: scores are far apart.
TEST_F(GradientsTest, RouterAndExperts) {
  const size_t T = 6, D = 5, E = 8, F = 4;
  const std::vector<RouterConfig> configs = {
      {.n_experts = E, .top_k = 3, .normalize = false, .scale = 1.5f},
      {.n_experts = E, .top_k = 2, .n_group = 4, .topk_group = 2, .normalize = false},
      {.n_experts = E, .top_k = 3, .normalize = true, .scale = 2.5f, .scale_when_normalized = false},
      {.n_experts = E,
       .top_k = 3,
       .n_group = 4,
       .topk_group = 2,
       .sigmoid = true,
       .group_by_two_best = true,
       .normalize = true,
       .scale = 2.5f}};
  for (const bool keep : {false, true})
    for (const RouterConfig& config : configs) {
      std::vector<ExpertChoice> kept(1, {"gate", {}});
      for (size_t t = 0; t < T; ++t)
        for (size_t i = 0; i < config.top_k; ++i) kept[0].ids.push_back(static_cast<int32_t>(t % 3 + 2 * i));
      const Tensor x = random_f64({T, D}, 1), gate_values = random_f64({E, D}, 2), bias = random_f64({E}, 3);
      for (double& b : bias.span<double>()) b *= 0.05;
      std::vector<Tensor> values;
      for (size_t e = 0; e < E; ++e)
        for (const Shape& shape : {Shape{F, D}, Shape{F, D}, Shape{D, F}})
          values.push_back(random_f64(shape, 10 + values.size()));
      const auto pack = [&](size_t which) {
        std::vector<Weight> out;
        for (size_t e = 0; e < E; ++e) out.emplace_back("expert", values[3 * e + which]);
        return out;
      };
      Weight gate("gate", gate_values);
      gate.always_exact = true;
      const std::vector<Weight> g = pack(0), u = pack(1), d = pack(2);
      const std::vector<SequenceRows> rows = {{0, 4, 0, nullptr}, {4, 2, 0, nullptr}};
      run([&](Context& ctx) {
        TrainingPass pass;
        pass.rows = rows;
        if (keep) pass.kept_choices = &kept;
        ctx.training = &pass;
        if (ctx.tape) return experts(ctx, x, route(ctx, x, gate, bias, config), {g, u, d});
        Weight now("gate", gate_values);
        now.always_exact = true;
        const std::vector<Weight> g2 = pack(0), u2 = pack(1), d2 = pack(2);
        return experts(ctx, x, route(ctx, x, now, bias, config), {g2, u2, d2});
      });
      expect_gradient(x, grads_.of(x), "input, through gates and experts");
      expect_gradient(gate_values, grads_.of(gate), "router");
      for (size_t e = 0; e < E; ++e)
        for (const auto& [which, list] : {std::pair{0, &g}, {1, &u}, {2, &d}})
          if (grads_.has((*list)[e]))
            expect_gradient(values[3 * e + static_cast<size_t>(which)], grads_.of((*list)[e]), "an expert's matrix");
      grads_ = {};
    }
}

TEST_F(GradientsTest, BalanceLossThroughTheSharesAlone) {
  const Tensor logits = random_f64({7, 6}, 1);
  const std::vector<SequenceRows> rows = {{0, 4, 0, nullptr}, {4, 3, 0, nullptr}};
  for (const bool sigmoid : {false, true}) {
    const RouterConfig config{.n_experts = 6, .top_k = 2, .sigmoid = sigmoid};
    Tensor analytic = zeros(DType::kF64, logits.shape());
    backend_->balance_loss(analytic, logits, rows, config, 0.7);
    const auto loss = [&] { return 0.7 * backend_->balance_loss({}, logits, rows, config, 0); };
    EXPECT_LT(gradient_error(logits, analytic, loss), 1e-8) << sigmoid;
  }
}

/// spec/training.md 10.2: scores of 4 tokens over 4 experts, K = 2; the logits are those that a sigmoid turns into
/// them.
TEST_F(GradientsTest, BalanceLossOfTheWorkedExample) {
  const std::vector<double> scores = {0.9, 0.8, 0.1, 0.2, 0.7, 0.6, 0.5, 0.1, 0.3, 0.9, 0.2, 0.6, 0.8, 0.4, 0.1, 0.7};
  const Tensor logits = make_tensor(DType::kF64, {4, 4});
  for (size_t i = 0; i < 16; ++i) logits.data<double>()[i] = std::log(scores[i] / (1 - scores[i]));
  const std::vector<SequenceRows> rows = {{0, 4, 0, nullptr}};
  const RouterConfig config{.n_experts = 4, .top_k = 2, .sigmoid = true};
  EXPECT_NEAR(backend_->balance_loss({}, logits, rows, config, 0), 1.225987, 5e-7);
}

TEST_F(GradientsTest, LogProbabilitiesOfTokens) {
  const Tensor hidden = random_f64({5, 4}, 1), values = random_f64({9, 4}, 2),
               targets = from_ids(std::vector<int32_t>{3, -1, 8, 0, 3});
  for (const float temperature : {1.0f, 0.7f}) {
    const Weight fixed("head", values);
    run([&](Context& ctx) {
      if (ctx.tape) return token_log_probs(ctx, hidden, fixed, targets, temperature);
      return token_log_probs(ctx, hidden, Weight("head", values), targets, temperature);
    });
    expect_gradient(hidden, grads_.of(hidden), "hidden");
    expect_gradient(values, grads_.of(fixed), "head");
    grads_ = {};
  }
}

TEST_F(GradientsTest, ComputedAgain) {
  const Tensor x = random_f64({3, 6}, 1), norm = random_f64({6}, 2);
  TrainingPass pass;
  run([&](Context& ctx) {
    ctx.training = &pass;
    const auto f = [&](Context& c, const Tensor& in) { return add(c, in, rms_norm(c, in, norm, 1e-6f)); };
    return ctx.tape ? recomputed(ctx, x, f) : f(ctx, x);
  });
  expect_gradient(x, grads_.of(x), "input");
  expect_gradient(norm, grads_.of(norm), "norm");
}

/// A value that nothing recorded, as an embedding that is not trained, has a gradient that outlives it.
TEST(Tape, AGradientBelongsToOneTensor) {
  Gradients grads;
  std::set<const void*> seen;
  for (size_t i = 1; i < 200; ++i) {
    const Tensor t = zeros(DType::kF32, {1 + i % 3});
    EXPECT_TRUE(seen.insert(t.bytes()).second) << "the memory of a tensor with a gradient is taken again";
    grads.of(t).data<float>()[0] += 1;
    EXPECT_EQ(grads.of(t).data<float>()[0], 1.0f);
  }
}

TEST(Tape, FreesWhatHasPassed) {
  const std::unique_ptr<Backend> backend = make_cpu_backend(1);
  Tape tape;
  Gradients grads;
  Context ctx{.backend = *backend, .tape = &tape};
  const Tensor a = random_f64({2, 2}, 1), b = random_f64({2, 2}, 2), y = add(ctx, a, b);
  tape.backward(y, random_f64({2, 2}, 3), grads);
  EXPECT_EQ(tape.size(), 0u);
  EXPECT_FALSE(grads.has(y)) << "an output's gradient";
  EXPECT_TRUE(grads.has(a)) << "an input's";
}

TEST(Tape, InferenceRecordsNothing) {
  const std::unique_ptr<Backend> backend = make_cpu_backend(1);
  LayerArenas arenas;
  Context ctx{.backend = *backend, .arenas = &arenas};
  const Tensor x = from_values(testing::random_floats(32, 1), {2, 16}),
               w = from_values(testing::random_floats(16, 2), {16});
  const Tensor y = rms_norm(ctx, x, w, 1e-5f);
  EXPECT_EQ(y.owner().use_count(), 0) << "scratch has no owner: it lives in the arena";
}

}  // namespace
}  // namespace fathom
