// Divergences and their derivatives against sums in double with libm, and finite differences of those.
#include "train/divergence.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

#include "train/train_testing.h"

namespace fathom {
namespace {

constexpr size_t kTokens = 37;

/// Logits as the definition reads them: in double, outcome by outcome.
struct Oracle {
  std::vector<size_t> top;  // ids that are outcomes of their own; empty: all are
  DivergenceOptions options;

  std::vector<double> outcomes(std::span<const float> logits) const {
    std::vector<double> p;
    double all = 0;
    for (const float l : logits) p.push_back(std::exp(static_cast<double>(l) / options.temperature)), all += p.back();
    for (double& x : p) x /= all;
    if (top.empty()) return p;
    std::vector<double> out;
    double rest = 0;
    for (size_t v = 0; v < p.size(); ++v)
      if (std::find(top.begin(), top.end(), v) == top.end()) rest += p[v];
    for (const size_t v : top) out.push_back(p[v]);
    out.push_back(rest);
    return out;
  }
  double value(std::span<const float> student, std::span<const float> teacher) const {
    const bool forward = options.divergence == Divergence::kForward;
    const std::vector<double> of = outcomes(forward ? teacher : student), to = outcomes(forward ? student : teacher);
    double sum = 0;
    for (size_t i = 0; i < of.size(); ++i) sum += of[i] * std::log(of[i] / to[i]);
    return sum;
  }
};

std::vector<size_t> top_of(std::span<const float> x, size_t k) {
  std::vector<size_t> ids(x.size());
  std::iota(ids.begin(), ids.end(), size_t{0});
  std::stable_sort(ids.begin(), ids.end(), [&](size_t a, size_t b) { return x[a] > x[b]; });
  ids.resize(k);
  return ids;
}

/// Logits of wide and narrow distributions: multiples of 1/64.
std::vector<float> logits(uint64_t seed, float spread) {
  std::vector<float> out = testing::random_floats(kTokens, seed);
  for (float& x : out) x = std::round(x * spread * 64) / 64;
  return out;
}

TEST(Divergence, ValuesAndDerivatives) {
  for (const float spread : {0.5F, 3.0F})
    for (const size_t k : {size_t{0}, size_t{1}, size_t{5}, kTokens - 1, kTokens})
      for (const float temperature : {1.0F, 2.0F, 0.5F})
        for (const Divergence which : {Divergence::kForward, Divergence::kReverse}) {
          std::vector<float> student = logits(1, spread);
          const std::vector<float> teacher = logits(2, spread);
          const DivergenceOptions options{which, k, temperature};
          const Oracle oracle{k == kTokens ? std::vector<size_t>{} : top_of(teacher, k), options};
          std::vector<float> got = student, used = teacher;
          const double value = divergence(best_kernels(), got, used, options, 0.25F);
          const double want = oracle.value(student, teacher);
          EXPECT_NEAR(value, want, 2e-6 * std::max(1.0, want));
          for (size_t v = 0; v < kTokens; ++v) {
            const double slope = testing::five_point(student[v], [&] { return oracle.value(student, teacher); });
            EXPECT_NEAR(got[v], 0.25 * slope, 3e-6) << "token " << v << " k " << k << " temperature " << temperature;
          }
        }
}

TEST(Divergence, OfEqualTokensTheLowerIdsAreTheTop) {
  const std::vector<float> student = logits(1, 2), teacher(kTokens, 0.5F);
  std::vector<float> got = student, used = teacher;
  const DivergenceOptions options{Divergence::kForward, 3};
  EXPECT_NEAR(divergence(best_kernels(), got, used, options, 1), (Oracle{{0, 1, 2}, options}).value(student, teacher),
              1e-6);
}

TEST(Divergence, ATeacherLearnsNothingFromItself) {
  for (const size_t k : {size_t{0}, size_t{4}})
    for (const Divergence which : {Divergence::kForward, Divergence::kReverse}) {
      std::vector<float> student = logits(3, 2), teacher = student;
      EXPECT_EQ(divergence(best_kernels(), student, teacher, {which, k}, 1), 0);
      EXPECT_TRUE(std::all_of(student.begin(), student.end(), [](float d) { return std::abs(d) < 1e-7; }));
    }
}

/// Where one of the two is certain, nothing overflows; where logits are none, the caller hears it.
TEST(Divergence, CertaintyAndWhatIsNoNumber) {
  for (const size_t k : {size_t{0}, size_t{2}})
    for (const Divergence which : {Divergence::kForward, Divergence::kReverse}) {
      std::vector<float> student = logits(4, 1), teacher = logits(5, 1);
      student[7] = 300, teacher[9] = 300;
      const double value = divergence(best_kernels(), student, teacher, {which, k}, 1);
      EXPECT_TRUE(std::isfinite(value) && value > 100) << value;
      for (const float d : student) EXPECT_TRUE(std::isfinite(d));
      std::vector<float> broken = logits(4, 1), fine = logits(5, 1);
      broken[3] = NAN;
      EXPECT_TRUE(std::isnan(divergence(best_kernels(), broken, fine, {which, k}, 1)));
      EXPECT_TRUE(std::all_of(broken.begin(), broken.end(), [](float d) { return d == 0; }));
      broken = logits(4, 1), fine[0] = INFINITY;
      EXPECT_TRUE(std::isnan(divergence(best_kernels(), broken, fine, {which, k}, 1)));
    }
}

TEST(Divergence, EveryTableHasTheSameBits) {
  for (const Kernels* kernels : usable_kernels())
    for (const size_t k : {size_t{0}, size_t{6}})
      for (const Divergence which : {Divergence::kForward, Divergence::kReverse}) {
        std::vector<float> want = logits(1, 3), used = logits(2, 3), got = want, again = used;
        const double value = divergence(ref_kernels(), want, used, {which, k, 0.7F}, 0.3F);
        EXPECT_EQ(divergence(*kernels, got, again, {which, k, 0.7F}, 0.3F), value) << kernels->name;
        EXPECT_EQ(0, std::memcmp(got.data(), want.data(), got.size() * sizeof(float))) << kernels->name;
      }
}

}  // namespace
}  // namespace fathom
