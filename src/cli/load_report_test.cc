#include "cli/load_report.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "cli/bench_serve.h"

namespace fathom {
namespace {

LoadTrace answered(double due, double first, double last, size_t tokens) {
  LoadTrace t;
  t.status = 200, t.due_s = due, t.first_s = first, t.last_s = last, t.completion_tokens = tokens;
  return t;
}

TEST(Load, PercentilesAreNearestRanks) {
  EXPECT_EQ(percentile({}, 0.5), 0);
  EXPECT_EQ(percentile({7}, 0.01), 7);
  std::vector<double> values;
  for (int i = 100; i > 0; --i) values.push_back(i);
  EXPECT_EQ(percentile(values, 0.5), 50);
  EXPECT_EQ(percentile(values, 0.9), 90);
  EXPECT_EQ(percentile(values, 0.99), 99);
  EXPECT_EQ(percentile(values, 1), 100);
}

TEST(Load, WhatAServerDidIsCounted) {
  ServerUnderLoad server{.url = "http://a/v1", .model = "m"};
  LoadTrace refused, broken = answered(0, 1, 2, 0), disturbing = answered(0, 1, 3, 500);
  refused.status = 429, refused.problem = "status 429", refused.last_s = 0.01;
  broken.problem = "the stream ended without [DONE]";
  disturbing.counted = false;
  // 0.5 s and 0.1 s a token; 3 s and 0.1 s a token: too late for the limit of 2 s.
  server.add({answered(0, 0.5, 1.5, 11), answered(1, 4, 5, 11), refused, broken, disturbing},
             {.first_token_s = 2, .per_token_s = 0.15});
  EXPECT_EQ(server.answered(), 2u);
  EXPECT_EQ(server.failed(), 1u);
  EXPECT_EQ(server.first_problem(), broken.problem);
  EXPECT_EQ(server.times_to_first_token(), (std::vector<double>{0.5, 3}));
  EXPECT_EQ(server.times_per_token(), (std::vector<double>{0.1, 0.1}));
  EXPECT_EQ(server.refusals(), std::vector<double>{0.01});
  EXPECT_DOUBLE_EQ(server.tokens_per_s.median(), 22 / 5.0);
  EXPECT_DOUBLE_EQ(server.good_per_s.median(), 1 / 5.0);
}

TEST(Load, ArrivalsAreAPoissonProcessAndQuestionsDiffer) {
  BenchServeCommand command;
  command.requests = 4000, command.shared_tokens = 5, command.ask_tokens = 8;
  const std::vector<LoadRequest> requests = load_requests(command, "m", 20, 0);
  ASSERT_EQ(requests.size(), 4000u);
  // Gaps of an exponential distribution: mean and standard deviation 1/20 s, within 5 standard errors.
  double sum = 0, squares = 0, before = 0;
  std::set<std::string> bodies;
  for (const LoadRequest& r : requests) {
    const double gap = r.start_s - before;
    ASSERT_GE(gap, 0);
    sum += gap, squares += gap * gap, before = r.start_s;
    bodies.insert(r.body);
  }
  const double mean = sum / 4000, deviation = std::sqrt(squares / 4000 - mean * mean);
  EXPECT_NEAR(mean, 0.05, 5 * 0.05 / std::sqrt(4000.0));
  EXPECT_NEAR(deviation, 0.05, 10 * 0.05 / std::sqrt(4000.0));
  EXPECT_EQ(bodies.size(), 4000u);
  EXPECT_EQ(load_requests(command, "m", 20, 0)[7].body, requests[7].body) << "the same for every server";
  EXPECT_FALSE(bodies.contains(load_requests(command, "m", 20, 1)[7].body)) << "another repetition asks anew";
  command.disturbing_tokens = 100;
  const std::vector<LoadRequest> disturbed = load_requests(command, "m", 20, 0);
  ASSERT_EQ(disturbed.size(), 4001u);
  EXPECT_FALSE(disturbed[2001].counted);
}

}  // namespace
}  // namespace fathom
