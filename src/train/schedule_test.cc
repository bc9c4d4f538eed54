// Learning rates against the published schedule of V3 and against values by hand.
#include "train/schedule.h"

#include <cmath>

#include "base/error.h"
#include "tests/testing.h"

namespace fathom {
namespace {

/// V3's by trillions of tokens, from the pieces (spec/training.md 5.3): constant to 10, cosine over 4.3, two plateaus.
double v3_rate(double tokens) {
  if (tokens < 14.3) return cosine_decay(2.2e-4, 2.2e-5, (tokens - 10) / 4.3);
  return tokens < 14.3 + 0.333 ? 2.2e-5 : 7.3e-6;
}

TEST(Schedule, PublishedRatesOfV3) {
  EXPECT_DOUBLE_EQ(2.2e-4, v3_rate(10));
  EXPECT_NEAR(1.94732e-4, v3_rate(11), 5e-10);
  EXPECT_NEAR(1.21e-4, v3_rate(12.15), 5e-10);
  EXPECT_NEAR(6.33960e-5, v3_rate(13), 5e-11);
  EXPECT_NEAR(2.2e-5, v3_rate(14.3), 5e-11);
  EXPECT_DOUBLE_EQ(7.3e-6, v3_rate(14.7));
}

TEST(Schedule, WarmUpBeginsAboveZeroAndEndsAtThePeak) {
  for (const ScheduleShape shape : {ScheduleShape::kConstant, ScheduleShape::kCosine, ScheduleShape::kWsd}) {
    const Schedule s{shape, 8e-3, 1e-3, /*warmup_steps=*/3, /*total_steps=*/20, /*decay_steps=*/5};
    EXPECT_DOUBLE_EQ(2e-3, learning_rate(s, 0));
    EXPECT_DOUBLE_EQ(4e-3, learning_rate(s, 1));
    EXPECT_DOUBLE_EQ(6e-3, learning_rate(s, 2));
    EXPECT_DOUBLE_EQ(8e-3, learning_rate(s, 3));
  }
  EXPECT_DOUBLE_EQ(1.0, learning_rate({.peak = 1.0}, 0));
}

TEST(Schedule, CosineFallsToTheLeast) {
  const Schedule s{ScheduleShape::kCosine, 1e-3, 1e-4, 100, 2100};
  EXPECT_DOUBLE_EQ(1e-3, learning_rate(s, 100));
  EXPECT_NEAR(5.5e-4, learning_rate(s, 1100), 1e-15);                           // half way
  EXPECT_NEAR(5.5e-4 + 4.5e-4 * std::sqrt(0.5), learning_rate(s, 600), 1e-15);  // cos(pi / 4)
  EXPECT_GT(learning_rate(s, 2099), 1e-4);
  for (const uint64_t step : {2100, 2101, 1000000}) EXPECT_EQ(1e-4, learning_rate(s, step));
  for (uint64_t step = 101; step <= 2100; ++step) ASSERT_LT(learning_rate(s, step), learning_rate(s, step - 1));
}

TEST(Schedule, WsdStaysThenFallsInAStraightLine) {
  const Schedule s{ScheduleShape::kWsd, 1.0, 0.2, 10, 100, 8};
  for (uint64_t step = 10; step <= 92; ++step) ASSERT_EQ(1.0, learning_rate(s, step));
  EXPECT_DOUBLE_EQ(0.9, learning_rate(s, 93));
  EXPECT_DOUBLE_EQ(0.3, learning_rate(s, 99));
  EXPECT_EQ(0.2, learning_rate(s, 100));
  EXPECT_EQ(0.2, learning_rate(s, 5000));
}

TEST(Schedule, ImpossibleOnesAreRefused) {
  const Schedule good{ScheduleShape::kWsd, 1e-3, 1e-4, 10, 100, 90};
  EXPECT_NO_THROW(require_valid(good));
  const auto refused = [&](auto change) {
    Schedule s = good;
    change(s);
    EXPECT_THROW(require_valid(s), Error);
  };
  refused([](Schedule& s) { s.peak = 0; });
  refused([](Schedule& s) { s.peak = NAN; });
  refused([](Schedule& s) { s.least = 2e-3; });
  refused([](Schedule& s) { s.least = -1; });
  refused([](Schedule& s) { s.decay_steps = 91; });
  refused([](Schedule& s) { s.warmup_steps = 101; });
}

}  // namespace
}  // namespace fathom
