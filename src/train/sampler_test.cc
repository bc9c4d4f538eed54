// Samplers: the same batch for the same step whatever was asked before, uniform windows, whole epochs, full rows.
#include "train/sampler.h"

#include <numeric>
#include <set>

#include "base/error.h"
#include "tests/precompiled.h"

namespace fathom {
namespace {

std::vector<TokenId> counting(size_t n) {
  std::vector<TokenId> ids(n);
  std::iota(ids.begin(), ids.end(), 0);
  return ids;
}

TEST(WindowSampler, WindowsAreRunsOfTheStreamAcrossItsParts) {
  const std::vector<TokenId> ids = counting(100);
  const auto sampler = make_window_sampler(ids, {{10, 13}, {40, 42}, {90, 96}}, 4, 50, 7);
  std::vector<TokenId> stream{10, 11, 12, 40, 41, 90, 91, 92, 93, 94, 95};
  std::set<TokenId> begins;
  for (uint64_t step = 0; step < 10; ++step)
    for (const Sample& sample : sampler->batch(step)) {
      ASSERT_EQ(sample.ids.size(), 5u);
      EXPECT_EQ(sample.counts, (std::vector<uint8_t>{0, 1, 1, 1, 1}));
      EXPECT_NE(std::search(stream.begin(), stream.end(), sample.ids.begin(), sample.ids.end()), stream.end());
      begins.insert(sample.ids[0]);
    }
  EXPECT_EQ(begins, (std::set<TokenId>{10, 11, 12, 40, 41, 90, 91})) << "every place, the last one too";
}

TEST(WindowSampler, PlacesAreUniform) {
  const std::vector<TokenId> ids = counting(20);
  const auto sampler = make_window_sampler(ids, {{0, 20}}, 10, 100, 3);  // ten places
  std::vector<int> hits(10);
  for (uint64_t step = 0; step < 100; ++step)
    for (const Sample& sample : sampler->batch(step)) ++hits[static_cast<size_t>(sample.ids[0])];
  // Expected 1,000 each, deviation 30.
  for (const int n : hits) EXPECT_NEAR(n, 1000, 150);
}

TEST(WindowSampler, AStepNeedsNoHistoryAndSeedsDiffer) {
  const std::vector<TokenId> ids = counting(100000);
  const auto begins = [&](uint64_t seed, std::vector<uint64_t> steps) {
    const auto sampler = make_window_sampler(ids, {{0, ids.size()}}, 8, 4, seed);
    std::vector<TokenId> out;
    for (const uint64_t step : steps) {
      out.clear();
      for (const Sample& sample : sampler->batch(step)) out.push_back(sample.ids[0]);
    }
    return out;
  };
  const uint64_t late = (uint64_t{1} << 32) + 5;
  EXPECT_EQ(begins(1, {0, 1, 2, late}), begins(1, {late}));
  EXPECT_NE(begins(1, {late}), begins(2, {late}));
  EXPECT_NE(begins(1, {late}), begins(1, {5})) << "the upper half of the step counts";
  const std::vector<TokenId> once = begins(1, {5});
  EXPECT_EQ(std::set<TokenId>(once.begin(), once.end()).size(), 4u);
}

TEST(WindowSampler, ATextThatIsTooShortIsRefused) {
  const std::vector<TokenId> ids = counting(10);
  EXPECT_THROW(make_window_sampler(ids, {{0, 10}}, 10, 1, 1), Error);
  EXPECT_THROW(make_window_sampler(ids, {}, 1, 1, 1), Error);
  EXPECT_NO_THROW(make_window_sampler(ids, {{0, 10}}, 9, 1, 1));
}

/// Sample i holds i + 1 in all its tokens.
std::vector<Sample> samples_of(const std::vector<size_t>& sizes) {
  std::vector<Sample> out;
  for (const size_t n : sizes) {
    const auto id = static_cast<TokenId>(out.size() + 1);
    out.push_back({std::vector<TokenId>(n, id), std::vector<uint8_t>(n, 1)});
  }
  return out;
}

std::vector<TokenId> names(const std::vector<Sample>& samples) {
  std::vector<TokenId> out;
  for (const Sample& sample : samples) out.push_back(sample.ids[0]);
  return out;
}

TEST(EpochSampler, EveryEpochShowsEachSampleOnceInAnotherOrder) {
  std::vector<size_t> sizes;
  for (size_t i = 0; i < 200; ++i) sizes.push_back(1 + i * 37 % 64);
  const size_t total = std::accumulate(sizes.begin(), sizes.end(), size_t{0});
  const auto sampler = make_epoch_sampler(samples_of(sizes), 64, 1, 11);
  std::vector<std::vector<TokenId>> epochs;
  uint64_t step = 0;
  for (uint64_t epoch = 1; epoch <= 3; ++epoch) {
    const uint64_t first = step;
    std::vector<TokenId> seen;
    std::vector<size_t> rows;
    for (; step < sampler->steps(epoch); ++step) {
      const std::vector<Sample> row = sampler->batch(step);
      size_t tokens = 0;
      for (const Sample& sample : row) tokens += sample.ids.size();
      EXPECT_LE(tokens, 64u);
      rows.push_back(tokens);
      for (const TokenId name : names(row)) seen.push_back(name);
    }
    epochs.push_back(seen);
    std::vector<TokenId> sorted = seen;
    std::sort(sorted.begin(), sorted.end());
    std::vector<TokenId> all(200);
    std::iota(all.begin(), all.end(), 1);
    EXPECT_EQ(sorted, all);
    EXPECT_LE((step - first) * 64, total * 11 / 10) << "rows are nine tenths full or more";
    std::sort(rows.begin(), rows.end());
    EXPECT_GT(rows[0] + rows[1], 64u) << "no row is begun where one has room";
  }
  EXPECT_NE(epochs[0], epochs[1]);
  EXPECT_NE(epochs[1], epochs[2]);
}

TEST(EpochSampler, ASampleGoesIntoTheFullestRowWithRoom) {
  // By enumeration of the 24 orders of 7, 6, 4 and 3: best fit needs two rows in 16 of them, first fit in 14, the
  // emptiest row in 12. Of 2,400 seeds that is 1,600 (deviation 23), 1,400 or 1,200.
  int two = 0;
  for (uint64_t seed = 0; seed < 2400; ++seed)
    two += make_epoch_sampler(samples_of({7, 6, 4, 3}), 10, 1, seed)->steps(1) == 2 ? 1 : 0;
  EXPECT_NEAR(two, 1600, 90);
  for (uint64_t seed = 0; seed < 8; ++seed)
    EXPECT_EQ(make_epoch_sampler(samples_of({9, 1}), 10, 1, seed)->steps(1), 1u) << "the last token of a row";
}

TEST(EpochSampler, AStepNeedsNoHistory) {
  std::vector<size_t> sizes;
  for (size_t i = 0; i < 50; ++i) sizes.push_back(1 + i * 13 % 20);
  const auto walked = make_epoch_sampler(samples_of(sizes), 20, 3, 5);
  for (uint64_t step = 0; step < 40; ++step) {
    const auto jumped = make_epoch_sampler(samples_of(sizes), 20, 3, 5);
    EXPECT_EQ(names(jumped->batch(step)), names(walked->batch(step))) << step;
  }
  EXPECT_EQ(names(walked->batch(0)), names(make_epoch_sampler(samples_of(sizes), 20, 3, 5)->batch(0))) << "back again";
  EXPECT_NE(names(walked->batch(0)), names(make_epoch_sampler(samples_of(sizes), 20, 3, 6)->batch(0)));
}

TEST(EpochSampler, SamplesThatDoNotFitAreRefused) {
  EXPECT_THROW(make_epoch_sampler(samples_of({3, 11}), 10, 1, 1), Error);
  EXPECT_THROW(make_epoch_sampler({}, 10, 1, 1), Error);
  EXPECT_THROW(make_epoch_sampler({Sample{}}, 10, 1, 1), Error);
}

}  // namespace
}  // namespace fathom
