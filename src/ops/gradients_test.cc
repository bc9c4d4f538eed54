// Every op that records a backward, against central differences in double (law 1's other half). The loss is a fixed
// random weighting of the outputs, so that no gradient is trivially uniform.
#include "autograd/finite_difference.h"
#include "ops/elementwise.h"
#include "ops/linear.h"
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
