// The training kernels: every table equals ref bit for bit, on every tail, and writes nothing beside its outputs.
#include "kernels/ref/backward.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "kernels/kernels_testing.h"

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
