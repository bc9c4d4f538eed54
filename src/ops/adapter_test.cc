// LoRA on linears: the formula bit for bit, the laws of batches, and gradients against central differences.
#include "ops/adapter.h"

#include <cmath>
#include <cstring>

#include "autograd/finite_difference.h"
#include "ops/elementwise.h"
#include "ops/recompute.h"
#include "tests/testing.h"

namespace fathom {
namespace {

constexpr size_t kIn = 64, kOut = 19, kRank = 3;
constexpr float kScale = 0.7f;

Tensor random_f32(const Shape& shape, uint64_t seed) {
  Tensor t = make_tensor(DType::kF32, shape);
  const std::vector<float> values = testing::random_floats(t.count(), seed);
  std::copy(values.begin(), values.end(), t.data<float>());
  return t;
}

Tensor random_f64(const Shape& shape, uint64_t seed) {
  Tensor t = make_tensor(DType::kF64, shape);
  const std::vector<float> values = testing::random_floats(t.count(), seed);
  std::copy(values.begin(), values.end(), t.data<double>());
  return t;
}

/// Blocks of 32 codes with the scale 0.01.
Tensor random_q8(size_t rows, uint64_t seed) {
  Tensor t = make_tensor(DType::kQ8_0, {rows, kIn});
  const std::vector<uint8_t> bytes = testing::random_bytes(t.size_bytes(), seed);
  std::memcpy(t.bytes(), bytes.data(), bytes.size());
  for (size_t at = 0; at < t.size_bytes(); at += 34)
    t.bytes()[at] = std::byte{0x1f}, t.bytes()[at + 1] = std::byte{0x21};
  return t;
}

Adapter adapter_of(const Tensor& a, const Tensor& b, const std::string& weight = "w") {
  Adapter out;
  out.add(weight, {Weight("A", a), Weight("B", b), kScale});
  return out;
}

/// One chain of fma in ascending k, as spec/numerics.md 2 has every product.
std::vector<float> chains(const Tensor& x, const Tensor& w) {
  const size_t T = x.dim(0), K = x.dim(1), O = w.dim(0);
  std::vector<float> y(T * O);
  for (size_t t = 0; t < T; ++t)
    for (size_t o = 0; o < O; ++o)
      for (size_t k = 0; k < K; ++k)
        y[t * O + o] = std::fma(w.data<float>()[o * K + k], x.data<float>()[t * K + k], y[t * O + o]);
  return y;
}

TEST(AdapterTest, AddsToTheBaseOfAnyTypeAndProfile) {
  const std::unique_ptr<Backend> backend = make_cpu_backend(2);
  const Tensor x = random_f32({5, kIn}, 1), a = random_f32({kRank, kIn}, 2), b = random_f32({kOut, kRank}, 3),
               bias = random_f32({kOut}, 4);
  const Adapter adapter = adapter_of(a, b);
  const std::vector<float> h = chains(x, a), z = chains(from_values(h, {5, kRank}), b);
  const Weight f32("w", random_f32({kOut, kIn}, 5)), q8("w", random_q8(kOut, 6)), other("v", random_q8(kOut, 7));
  for (const Profile profile : {Profile::kExact, Profile::kInt8})
    for (const Weight* w : {&f32, &q8}) {
      Context ctx{.backend = *backend, .profile = profile};
      const auto [base, base_other] = linears<2>(ctx, LinearInput(ctx, x), {LinearUse{w, &bias}, {&other}});
      ctx.adapter = &adapter;
      const auto [y, y_other] = linears<2>(ctx, LinearInput(ctx, x), {LinearUse{w, &bias}, {&other}});
      for (size_t i = 0; i < y.count(); ++i)
        ASSERT_EQ(y.data<float>()[i], base.data<float>()[i] + kScale * z[i]) << name(profile) << i;
      EXPECT_EQ(0, std::memcmp(y_other.bytes(), base_other.bytes(), y_other.size_bytes())) << "not adapted";
    }
}

TEST(AdapterTest, SameBitsAloneOrInABatchOnAnyThreads) {
  const Tensor x = random_f32({33, kIn}, 1);
  const Adapter adapter = adapter_of(random_f32({kRank, kIn}, 2), random_f32({kOut, kRank}, 3));
  const Weight w("w", random_q8(kOut, 6));
  std::vector<Tensor> all;
  for (const size_t threads : {1, 3}) {
    const std::unique_ptr<Backend> backend = make_cpu_backend(threads);
    Context ctx{.backend = *backend, .profile = Profile::kInt8, .adapter = &adapter};
    all.push_back(linear(ctx, x, w));
    for (size_t t = 0; t < x.rows(); ++t)
      EXPECT_EQ(0, std::memcmp(linear(ctx, x.slice(t, 1), w).bytes(), all[0].slice(t, 1).bytes(), kOut * 4)) << t;
  }
  EXPECT_EQ(0, std::memcmp(all[0].bytes(), all[1].bytes(), all[0].size_bytes()));
}

TEST(AdapterTest, RowsWithAdaptersOfTheirOwnGetTheBitsOfEachAlone) {
  const Tensor x = random_f32({11, kIn}, 1);
  const Adapter one = adapter_of(random_f32({kRank, kIn}, 2), random_f32({kOut, kRank}, 3));
  const Adapter other = adapter_of(random_f32({5, kIn}, 4), random_f32({kOut, 5}, 5));
  const Adapter elsewhere = adapter_of(random_f32({5, kIn}, 4), random_f32({kOut, 5}, 5), "v");
  const AdapterRows parts[] = {{1, 3, &one}, {6, 2, &elsewhere}, {8, 3, &other}};
  const Adapter* of_row[] = {nullptr, &one, &one, &one, nullptr, nullptr, nullptr, nullptr, &other, &other, &other};
  const Weight f32("w", random_f32({kOut, kIn}, 5)), q8("w", random_q8(kOut, 6));
  for (const size_t threads : {1, 3})
    for (const Profile profile : {Profile::kExact, Profile::kInt8})
      for (const Weight* w : {&f32, &q8}) {
        const std::unique_ptr<Backend> backend = make_cpu_backend(threads);
        Context ctx{.backend = *backend, .profile = profile, .adapter_rows = parts};
        const Tensor y = linear(ctx, x, *w);
        for (size_t t = 0; t < x.rows(); ++t) {
          Context alone{.backend = *backend, .profile = profile, .adapter = of_row[t]};
          EXPECT_EQ(0, std::memcmp(linear(alone, x.slice(t, 1), *w).bytes(), y.slice(t, 1).bytes(), kOut * 4)) << t;
        }
      }
}

/// A feed-forward with two of its three linears adapted; `again` runs it as activation checkpointing does.
class AdapterGradients : public ::testing::TestWithParam<bool> {};
INSTANTIATE_TEST_SUITE_P(KeptAndComputedAgain, AdapterGradients, ::testing::Bool());

TEST_P(AdapterGradients, AgainstCentralDifferences) {
  const bool again = GetParam();
  const std::unique_ptr<Backend> backend = make_cpu_backend(2);
  const Tensor x = random_f64({4, 6}, 1), table = random_f64({9, 6}, 15), weighting = random_f64({4, 6}, 99),
               bias = random_f64({9}, 2), up_a = random_f64({2, 6}, 3), up_b = random_f64({9, 2}, 4),
               down_a = random_f64({3, 9}, 5), down_b = random_f64({6, 3}, 6);
  const Weight gate("gate", random_f64({9, 6}, 7)), up("up", random_f64({9, 6}, 8)),
      down("down", random_f64({6, 9}, 9));
  const Tensor ids = from_ids(std::vector<int32_t>{3, 0, 3, 5});
  const Weight embeddings("embed", table);
  const auto make = [&] {
    Adapter out;
    out.add("up", {Weight("A", up_a), Weight("B", up_b), kScale});
    out.add("down", {Weight("A", down_a), Weight("B", down_b), 2});
    return out;
  };
  const auto f = [&](Context& ctx, const Tensor& in) {
    const LinearInput input(ctx, in);
    const auto [g, u] = linears<2>(ctx, input, {LinearUse{&gate}, {&up, &bias}});
    return linear(ctx, silu_mul(ctx, g, u), down);
  };
  const auto forward = [&](Context& ctx) {
    const Tensor in = add(ctx, x, embed(ctx, ids, embeddings));
    return again && ctx.tape ? recomputed(ctx, in, f) : f(ctx, in);
  };
  const Adapter trained = make();
  Tape tape;
  TrainingPass pass;
  Gradients grads;
  Context taped{.backend = *backend, .tape = &tape, .training = &pass, .adapter = &trained};
  tape.backward(forward(taped), weighting, grads);

  const auto loss = [&] {
    const Adapter now = make();
    Context ctx{.backend = *backend, .adapter = &now};
    const Tensor y = forward(ctx);
    double sum = 0;
    for (size_t i = 0; i < y.count(); ++i) sum += y.data<double>()[i] * weighting.data<double>()[i];
    return sum;
  };
  EXPECT_LT(gradient_error(x, grads.of(x), loss), 1e-8);
  EXPECT_LT(gradient_error(bias, grads.of(bias), loss), 1e-8);
  EXPECT_LT(gradient_error(up_a, grads.of(trained.find("up")->a), loss), 1e-8);
  EXPECT_LT(gradient_error(up_b, grads.of(trained.find("up")->b), loss), 1e-8);
  EXPECT_LT(gradient_error(down_a, grads.of(trained.find("down")->a), loss), 1e-8);
  EXPECT_LT(gradient_error(down_b, grads.of(trained.find("down")->b), loss), 1e-8);
  for (const Weight* w : {&gate, &up, &down, &embeddings}) EXPECT_FALSE(grads.has(*w)) << w->name() << " is frozen";
}

}  // namespace
}  // namespace fathom
