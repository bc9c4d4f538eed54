// The training kernels: every table equals ref bit for bit, on every tail, and writes nothing beside its outputs.
#include "kernels/ref/backward.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "kernels/backend.h"
#include "kernels/kernels_testing.h"
#include "kernels/ref/linear.h"
#include "tensor/float_types.h"

namespace fathom {
namespace {

using testing::random_floats;
using testing::same_bits;

const std::vector<size_t> kLengths = {0, 1, 7, 15, 16, 17, 31, 33, 64, 100};

/// Calls f(table) for each table, which returns floats, and demands ref's.
template <class F>
void expect_all_equal(const F& f, const std::string& what) {
  const std::vector<float> want = f(ref_kernels());
  for (const Kernels* k : testing::other_tables()) ASSERT_TRUE(same_bits(f(*k), want)) << k->name << " " << what;
}

TEST(Backward, MultiplyAddEqualsRefOnEveryTail) {
  for (const size_t M : {0, 1, 5, 6, 7, 13, 25})
    for (const size_t N : {0, 1, 15, 16, 17, 40})
      for (const size_t K : {0, 1, 3, 255, 256, 257, 520})
        for (const bool along_m : {false, true}) {
          const size_t c_stride = N + 3, b_stride = N + 1, a_stride = along_m ? M + 2 : K + 2;
          const std::vector<float> a = random_floats((along_m ? K : M) * a_stride + 1, 1),
                                   b = random_floats(K * b_stride + 1, 2);
          expect_all_equal(
              [&](const Kernels& k) {
                std::vector<float> c = random_floats(M * c_stride + 1, 3);
                k.multiply_add(c.data(), c_stride, a.data(), along_m ? 1 : a_stride, along_m ? a_stride : 1, b.data(),
                               b_stride, M, N, K);
                return c;
              },
              cat("M=", M, " N=", N, " K=", K, " along_m=", along_m));
        }
}

TEST(Backward, LinearInputEqualsRefForEveryType) {
  for (const DType type : testing::weight_types()) {
    const size_t block = info(type).block_size;
    for (const size_t O : {1, 16, 37, 300})
      for (const size_t K : {block, 2 * block, block == 1 ? size_t{275} : 3 * block}) {
        const testing::TestWeight w(type, O, K, /*seed=*/O + K);
        for (const size_t T : {1, 6, 9}) {
          const size_t dx_stride = K + 5, dy_stride = O + 2;
          const std::vector<float> dy = random_floats(T * dy_stride, 4);
          expect_all_equal(
              [&](const Kernels& k) {
                std::vector<float> dx = random_floats(T * dx_stride, 5), scratch(kBackwardScratch);
                for (size_t begin = 0; begin < K; begin += kBackwardSlice)
                  k.linear_backward_input(dx.data(), dx_stride, w.view, begin, std::min(K, begin + kBackwardSlice),
                                          dy.data(), dy_stride, T, scratch.data());
                return dx;
              },
              cat(type, " O=", O, " K=", K, " T=", T));
        }
      }
  }
}

/// Pairs of small whole numbers, whose products and sums bf16 and f32 hold exactly.
std::vector<uint32_t> whole_pairs(size_t n, uint64_t seed) {
  std::vector<uint32_t> out(n);
  const std::vector<uint8_t> bytes = testing::random_bytes(2 * n, seed);
  const auto bits = [](uint8_t byte) { return uint32_t{bf16_from_f32(static_cast<float>(byte % 15) - 7)}; };
  for (size_t i = 0; i < n; ++i) out[i] = bits(bytes[2 * i]) | bits(bytes[2 * i + 1]) << 16;
  return out;
}

float even(uint32_t pair) { return f32_from_bf16(static_cast<uint16_t>(pair)); }
float odd(uint32_t pair) { return f32_from_bf16(static_cast<uint16_t>(pair >> 16)); }

TEST(Backward, PairsOfWholeNumbersGiveTheirProducts) {
  const size_t M = 3, N = 5, P = 7;
  const std::vector<uint32_t> a = whole_pairs(M * P, 1), b = whole_pairs(P * N, 2);
  std::vector<float> c(M * N, 2.0f);
  ref::multiply_add_bf16(c.data(), N, a.data(), P, 1, b.data(), N, M, N, P);
  for (size_t m = 0; m < M; ++m)
    for (size_t n = 0; n < N; ++n) {
      float want = 2;
      for (size_t p = 0; p < P; ++p)
        want += even(a[m * P + p]) * even(b[p * N + n]) + odd(a[m * P + p]) * odd(b[p * N + n]);
      EXPECT_EQ(c[m * N + n], want);
    }
  for (const size_t O : {1, 17, 32}) {
    const size_t K = 20, T = 2, pairs = (O + 1) / 2;
    const Tensor values = from_values(random_floats(O * K, O), {O, K});
    const Weight w("w", values);
    std::vector<uint32_t> dy = whole_pairs(T * pairs, 3);
    if (O % 2)
      for (size_t t = 0; t < T; ++t) dy[t * pairs + pairs - 1] &= 0xffff;
    std::vector<float> dx(T * K);
    ref::linear_backward_input_bf16(dx.data(), K, w.view(), 0, K, dy.data(), pairs, T, nullptr);
    for (size_t t = 0; t < T; ++t)
      for (size_t k = 0; k < K; ++k) {
        double want = 0, size = 0;
        for (size_t o = 0; o < O; ++o) {
          const uint32_t pair = dy[t * pairs + o / 2];
          const float rounded = f32_from_bf16(bf16_from_f32(values.data<float>()[o * K + k]));
          const double product = static_cast<double>(rounded) * (o % 2 ? odd(pair) : even(pair));
          want += product, size += std::abs(product);
        }
        EXPECT_NEAR(dx[t * K + k], want, 1e-6 * size) << "O=" << O;
      }
  }
}

const Kernels* other_table_with_bf16() {
  for (const Kernels* k : testing::other_tables())
    if (k->has_bf16) return k;
  return nullptr;
}

TEST(Backward, PairsEqualRefOnEveryTail) {
  const Kernels* table = other_table_with_bf16();
  if (!table) GTEST_SKIP() << "needs a processor with AVX512_BF16";
  for (const size_t M : {0, 1, 5, 6, 7, 13, 25})
    for (const size_t N : {0, 1, 15, 16, 17, 40})
      for (const size_t P : {0, 1, 3, 255, 256, 257})
        for (const bool along_m : {false, true}) {
          const size_t c_stride = N + 3, b_stride = N + 1, a_stride = along_m ? M + 2 : P + 2;
          const auto pairs = [](size_t n, uint64_t seed) {
            std::vector<uint16_t> halves(2 * n);
            ref_kernels().round_bf16(halves.data(), random_floats(2 * n, seed).data(), 2 * n);
            std::vector<uint32_t> out(n);
            for (size_t i = 0; i < n; ++i) out[i] = halves[2 * i] | uint32_t{halves[2 * i + 1]} << 16;
            return out;
          };
          const std::vector<uint32_t> a = pairs((along_m ? P : M) * a_stride + 1, 1), b = pairs(P * b_stride + 1, 2);
          const auto run = [&](const Kernels& k) {
            std::vector<float> c = random_floats(M * c_stride + 1, 3);
            k.multiply_add_bf16(c.data(), c_stride, a.data(), along_m ? 1 : a_stride, along_m ? a_stride : 1, b.data(),
                                b_stride, M, N, P);
            return c;
          };
          ASSERT_TRUE(same_bits(run(*table), run(ref_kernels())))
              << cat("M=", M, " N=", N, " P=", P, " along_m=", along_m);
        }
}

TEST(Backward, InputInPairsEqualsRefForEveryType) {
  const Kernels* table = other_table_with_bf16();
  if (!table) GTEST_SKIP() << "needs a processor with AVX512_BF16";
  for (const DType type : testing::weight_types()) {
    const size_t block = info(type).block_size;
    for (const size_t O : {1, 16, 37, 300})
      for (const size_t K : {block, 2 * block, block == 1 ? size_t{275} : 3 * block}) {
        const testing::TestWeight w(type, O, K, /*seed=*/O + K);
        for (const size_t T : {1, 6, 13}) {
          const size_t dx_stride = K + 5, dy_stride = (O + 1) / 2 + 1;
          std::vector<uint32_t> dy = whole_pairs(T * dy_stride, 4);
          for (size_t t = 0; O % 2 && t < T; ++t) dy[t * dy_stride + O / 2] &= 0xffff;
          const auto run = [&](const Kernels& k) {
            std::vector<float> dx = random_floats(T * dx_stride, 5);
            std::vector<uint32_t> scratch(kBackwardScratch / 2);
            for (size_t begin = 0; begin < K; begin += kBackwardSlice)
              k.linear_backward_input_bf16(dx.data(), dx_stride, w.view, begin, std::min(K, begin + kBackwardSlice),
                                           dy.data(), dy_stride, T, scratch.data());
            return dx;
          };
          ASSERT_TRUE(same_bits(run(*table), run(ref_kernels()))) << cat(type, " O=", O, " K=", K, " T=", T);
        }
      }
  }
}

/// spec/numerics.md 8, by its words: operands rounded, pairs of tokens within a sequence, an odd one beside 0, one
/// chain.
TEST(Backward, PairsOfTokensRestartAtEachSequence) {
  const size_t T = 11, O = 5, K = 19;
  const std::vector<uint32_t> ends = {3, 4, 10, 11};
  const Tensor x = from_values(random_floats(T * K, 1), {T, K}), dy = from_values(random_floats(T * O, 2), {T, O});
  const Weight w("w", from_values(random_floats(O * K, 3), {O, K}));
  const auto bits = [](const Tensor& t, size_t i) { return uint32_t{bf16_from_f32(t.data<float>()[i])}; };
  for (const size_t threads : {1, 3}) {
    const std::unique_ptr<Backend> backend = make_cpu_backend(threads, ref_kernels());
    const Tensor dx = from_values(random_floats(T * K, 4), {T, K}), dw = from_values(random_floats(O * K, 5), {O, K});
    std::vector<float> want_dx = random_floats(T * K, 4), want_dw = random_floats(O * K, 5);
    const LinearBackward task{.w = &w,
                              .T = T,
                              .dy = dy,
                              .dy_offset = 0,
                              .dy_stride = O,
                              .x = x,
                              .x_offset = 0,
                              .x_stride = K,
                              .dx = dx,
                              .dx_offset = 0,
                              .dx_stride = K,
                              .dw = dw,
                              .sequence_ends = ends};
    backend->linear_backward({&task, 1});
    const Tensor values = w.row_major();
    for (size_t k = 0; k < K; ++k) {
      for (size_t t = 0; t < T; ++t)
        for (size_t o = 0; o < O; o += 2) {
          const uint32_t second_w = o + 1 < O ? bits(values, (o + 1) * K + k) : 0,
                         second_dy = o + 1 < O ? bits(dy, t * O + o + 1) : 0;
          want_dx[t * K + k] = ref::dot_bf16_pair(want_dx[t * K + k], bits(values, o * K + k) | second_w << 16,
                                                  bits(dy, t * O + o) | second_dy << 16);
        }
      for (size_t o = 0; o < O; ++o)
        for (const auto& [first, second] :
             std::vector<std::pair<size_t, size_t>>{{0, 1}, {2, T}, {3, T}, {4, 5}, {6, 7}, {8, 9}, {10, T}}) {
          const uint32_t second_dy = second < T ? bits(dy, second * O + o) : 0,
                         second_x = second < T ? bits(x, second * K + k) : 0;
          want_dw[o * K + k] = ref::dot_bf16_pair(want_dw[o * K + k], bits(dy, first * O + o) | second_dy << 16,
                                                  bits(x, first * K + k) | second_x << 16);
        }
    }
    EXPECT_TRUE(same_bits({dx.data<float>(), dx.data<float>() + T * K}, want_dx));
    EXPECT_TRUE(same_bits({dw.data<float>(), dw.data<float>() + O * K}, want_dw));
  }
}

TEST(Backward, RowsEqualRef) {
  for (const size_t D : kLengths) {
    const size_t T = 5;
    const std::vector<float> x = random_floats(T * D, 1), dy = random_floats(T * D, 2), w = random_floats(D, 3);
    expect_all_equal(
        [&](const Kernels& k) {
          std::vector<float> dx = random_floats(T * D + 1, 4), r(T), dw = random_floats(D + 1, 5);
          k.rms_norm_backward(dx.data(), r.data(), dy.data(), x.data(), w.data(), T, D, 1e-6f);
          k.rms_norm_backward_weight(dw.data(), r.data(), dy.data(), x.data(), T, D, D / 3, D);
          dx.insert(dx.end(), r.begin(), r.end());
          dx.insert(dx.end(), dw.begin(), dw.end());
          return dx;
        },
        cat("rms_norm D=", D));
    expect_all_equal(
        [&](const Kernels& k) {
          std::vector<float> p(D), out(D + 1, -7.0f);
          ref_kernels().softmax(p.data(), x.data(), D);
          k.softmax_backward(out.data(), p.data(), dy.data(), D, 0.125f);
          return out;
        },
        cat("softmax D=", D));
    expect_all_equal(
        [&](const Kernels& k) {
          std::vector<float> dgate = random_floats(D + 1, 6), dup = random_floats(D + 1, 7);
          k.silu_mul_backward(dgate.data(), dup.data(), dy.data(), x.data(), x.data() + D, D);
          dgate.insert(dgate.end(), dup.begin(), dup.end());
          return dgate;
        },
        cat("silu_mul D=", D));
    expect_all_equal(
        [&](const Kernels& k) {
          std::vector<float> y(D + 1, -7.0f);
          k.exp_scaled(y.data(), x.data(), D, 0.75f, -0.3f);
          return y;
        },
        cat("exp_scaled D=", D));
  }
}

}  // namespace
}  // namespace fathom
