// Rows and elements: every table equals ref bit for bit, and ref agrees with double precision.
#include "kernels/ref/rows.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <bit>
#include <cstdlib>

#include "base/error.h"
#include "kernels/kernels_testing.h"

namespace fathom {
namespace {

using testing::first_difference;
using testing::random_floats;
using testing::same_bits;
using testing::test_activations;

const std::vector<size_t> kLengths = {0, 1, 2, 7, 8, 15, 16, 17, 31, 32, 33, 64, 100, 257};

/// Calls f(table) for each table, which returns floats, and demands ref's.
template <class F>
void expect_all_equal(const F& f, const std::string& what) {
  const std::vector<float> want = f(ref_kernels());
  for (const Kernels* k : testing::other_tables()) ASSERT_TRUE(same_bits(f(*k), want)) << k->name << " " << what;
}

TEST(Rows, RmsNormEqualsRef) {
  for (const size_t D : kLengths)
    for (const bool wild : {false, true}) {
      const size_t T = 3;
      const std::vector<float> x = test_activations(T * D, D, wild), w = random_floats(D, 2);
      expect_all_equal(
          [&](const Kernels& k) {
            std::vector<float> y(T * D + 1, -7.0f);
            k.rms_norm(y.data(), x.data(), w.data(), T, D, 1e-6f);
            return y;
          },
          cat("D=", D));
    }
}

TEST(Rows, ElementwiseEqualsRefAndMayWorkInPlace) {
  for (const size_t n : kLengths)
    for (const bool wild : {false, true})
      for (const size_t shift : {0, 1}) {
        const std::vector<float> a = test_activations(n + shift, n, wild), b = test_activations(n + shift, n + 1, wild);
        const auto call = [&](auto member, bool in_place) {
          expect_all_equal(
              [&](const Kernels& k) {
                std::vector<float> y = a, out(n + shift + 1, -7.0f);
                (k.*member)(in_place ? y.data() + shift : out.data() + shift, y.data() + shift, b.data() + shift, n);
                return in_place ? y : out;
              },
              cat("n=", n));
        };
        for (const bool in_place : {false, true}) call(&Kernels::add, in_place), call(&Kernels::silu_mul, in_place);
        const auto call1 = [&](auto member, bool in_place) {
          expect_all_equal(
              [&](const Kernels& k) {
                std::vector<float> y = a, out(n + shift + 1, -7.0f);
                (k.*member)(in_place ? y.data() + shift : out.data() + shift, y.data() + shift, n);
                return in_place ? y : out;
              },
              cat("n=", n));
        };
        for (const bool in_place : {false, true})
          call1(&Kernels::softmax, in_place), call1(&Kernels::sigmoid, in_place);
        expect_all_equal([&](const Kernels& k) { return std::vector<float>{k.log_sum_exp(a.data() + shift, n)}; },
                         cat("log_sum_exp n=", n));
        if (n > 0)
          expect_all_equal(
              [&](const Kernels& k) {
                std::vector<float> y = test_activations(3 * n + 1, 5);
                k.add_bias(y.data(), b.data() + shift, 3, n);
                return y;
              },
              cat("add_bias n=", n));
      }
}

/// Every bit pattern in a stride through the vectors' exp, by way of sigmoid; the arguments around the clamps densely.
TEST(Rows, ExpOfEveryTableIsRefs) {
  std::vector<float> x;
  for (uint64_t bits = 0; bits < (uint64_t{1} << 32); bits += 9973)
    x.push_back(std::bit_cast<float>(static_cast<uint32_t>(bits)));
  for (float v = -110; v < 110; v += 0.0013f) x.push_back(v);
  expect_all_equal(
      [&](const Kernels& k) {
        std::vector<float> y(x.size());
        k.sigmoid(y.data(), x.data(), x.size());
        return y;
      },
      "sigmoid");
  for (const Kernels* k : testing::other_tables())
    for (size_t i = 0; i < x.size(); i += 3) {  // softmax of {0, -|x|}: exp itself over a known sum
      const float pair[2] = {0.0f, -std::fabs(x[i])};
      float got[2], want[2];
      k->softmax(got, pair, 2);
      ref_kernels().softmax(want, pair, 2);
      ASSERT_EQ(first_difference(got, want, 2), 2u) << k->name << " " << x[i];
    }
}

TEST(Rows, RopeEqualsRef) {
  for (const size_t half : {0, 1, 3, 8, 16, 20, 32, 64})
    for (const bool interleaved : {false, true}) {
      const size_t heads = 3, stride = 2 * half + 5;
      const std::vector<float> x = random_floats(heads * stride, half), inv_freq = random_floats(half, 3);
      std::vector<float> c(half), s(half);
      ref_kernels().rope_angles(c.data(), s.data(), inv_freq.data(), half, 1234.0f, 1.1f);
      expect_all_equal(
          [&](const Kernels& k) {
            std::vector<float> y = x, cosines(half), sines(half);
            k.rope_angles(cosines.data(), sines.data(), inv_freq.data(), half, 1234.0f, 1.1f);
            k.rope(y.data(), heads, stride, half, cosines.data(), sines.data(), interleaved);
            return y;
          },
          cat("half=", half));
      for (size_t i = 0; i < half; ++i) {
        const double a = static_cast<double>(1234.0f * inv_freq[i]);
        ASSERT_NEAR(c[i], std::cos(a) * static_cast<double>(1.1f), 2e-7);
        ASSERT_NEAR(s[i], std::sin(a) * static_cast<double>(1.1f), 2e-7);
      }
    }
}

TEST(Rows, RopeTurnsPairsByTheAngle) {
  const float c[2] = {std::cos(0.3f), std::cos(1.0f)}, s[2] = {std::sin(0.3f), std::sin(1.0f)};
  for (const Kernels* k : usable_kernels()) {
    float halves[4] = {1, 0, 0, 1}, neighbours[4] = {1, 0, 0, 1};
    k->rope(halves, 1, 4, 2, c, s, false);
    k->rope(neighbours, 1, 4, 2, c, s, true);
    EXPECT_THAT(halves, ::testing::ElementsAre(c[0], -s[1], s[0], c[1]));
    EXPECT_THAT(neighbours, ::testing::ElementsAre(c[0], s[0], -s[1], c[1]));
  }
}

TEST(Rows, CombineExpertsEqualsRef) {
  for (const size_t D : kLengths)
    for (const size_t n : {0, 1, 2, 6, 9}) {
      const std::vector<float> rows = random_floats(n * D, D), gates = random_floats(n, 4);
      expect_all_equal(
          [&](const Kernels& k) {
            std::vector<float> y(D + 1, -7.0f);
            k.combine_experts(y.data(), rows.data(), gates.data(), n, D);
            return y;
          },
          cat("D=", D, " n=", n));
    }
}

TEST(Rows, RefAgreesWithDouble) {
  for (const size_t n : {1, 5, 16, 100, 1000}) {
    const std::vector<float> x = random_floats(n, n), w = random_floats(n, 3);
    const std::vector<double> xd(x.begin(), x.end()), wd(w.begin(), w.end());
    std::vector<float> y(n);
    std::vector<double> yd(n);
    const auto near = [&](double tolerance) {
      for (size_t i = 0; i < n; ++i) ASSERT_NEAR(y[i], yd[i], tolerance * (std::fabs(yd[i]) + 1e-3));
    };
    ref::rms_norm(y.data(), x.data(), w.data(), 1, n, 1e-5f);
    ref::rms_norm(yd.data(), xd.data(), wd.data(), 1, n, static_cast<double>(1e-5f));
    near(1e-6);
    ref::silu_mul(y.data(), x.data(), w.data(), n);
    ref::silu_mul(yd.data(), xd.data(), wd.data(), n);
    near(1e-6);
    ref::softmax(y.data(), x.data(), n);
    ref::softmax(yd.data(), xd.data(), n);
    near(1e-6);
    ASSERT_NEAR(ref::log_sum_exp(x.data(), n), ref::log_sum_exp(xd.data(), n), 2e-6);
    double plain = 0;
    for (const double v : xd) plain += std::exp(v);
    ASSERT_NEAR(ref::log_sum_exp(xd.data(), n), std::log(plain), 1e-12 * n);
  }
}

TEST(Rows, RowSumAddsSixteenPartsInATree) {
  std::vector<float> x(35);
  for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i % 7) * 0x1p-24f + 1.0f;
  float s[16] = {};
  for (size_t i = 0; i < 35; ++i) s[i % 16] = s[i % 16] + x[i];
  const auto pair = [&](size_t j) { return s[j] + s[j + 8]; };
  const float four[4] = {pair(0) + pair(4), pair(1) + pair(5), pair(2) + pair(6), pair(3) + pair(7)};
  EXPECT_EQ(ref::row_sum(x.data(), 35), (four[0] + four[2]) + (four[1] + four[3]));
}

TEST(Tables, NamesAreKnownAndRefIsFirst) {
  const auto tables = usable_kernels();
  ASSERT_FALSE(tables.empty());
  EXPECT_EQ(tables[0], &ref_kernels());
  for (size_t i = 1; i < tables.size(); ++i)
    EXPECT_THAT(tables[i]->name,
                ::testing::AnyOf(::testing::StrEq(i == 1 ? "avx2" : "avx512"), ::testing::StrEq("neon")));
}

/// The choice is made once per process, so each one is made in a process of its own.
TEST(TablesDeathTest, TheEnvironmentForcesATableOrIsRefused) {
  for (const Kernels* table : usable_kernels())
    EXPECT_EXIT(
        {
          setenv("FATHOM_KERNELS", table->name, 1);
          _exit(&best_kernels() == table ? 0 : 1);
        },
        ::testing::ExitedWithCode(0), "")
        << table->name;
  EXPECT_EXIT(
      {
        setenv("FATHOM_KERNELS", "mmx", 1);
        try {
          best_kernels();
        } catch (const Error& error) {
          _exit(std::string(error.what()).find("\"mmx\"") != std::string::npos ? 0 : 2);
        }
        _exit(1);
      },
      ::testing::ExitedWithCode(0), "");
}

}  // namespace
}  // namespace fathom
