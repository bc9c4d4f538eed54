#include "cli/bench_train.h"

#include <gtest/gtest.h>

namespace fathom {
namespace {

BenchTrainReport report_of(double slowest_nops) {
  BenchTrainReport report{.processor = "Some Processor",
                          .kernels = "avx2",
                          .config = "a.json",
                          .threads = 2,
                          .repeat = 2,
                          .sequences = 4,
                          .context = 512,
                          .vocab_size = 100,
                          .parameters = 30'000'000,
                          .operations_per_token = 0.2e9};
  report.tokens_per_s = {{300, 500}};
  report.probes = {{20, 200, 18}, {20, 160, 18}, {20, 240, slowest_nops}};
  report.products = {.T = 512, .K = 1024, .O = 1024, .forward = {{0.8}}, .input = {{0.5}}, .weight = {{0.6, 0.7}}};
  report.rivals.push_back({.command = "r {config}", .tokens_per_s = {{200, 250}}});
  return report;
}

TEST(BenchTrain, SharesAndState) {
  EXPECT_NEAR(report_of(18).share_of_peak(), 0.2 * 400 / 200, 1e-12);
  EXPECT_FALSE(report_of(18).is_shared());
  EXPECT_TRUE(report_of(13).is_shared());
}

TEST(BenchTrain, TableHasSpeedShareRatioAndProducts) {
  const std::string table = bench_train_table(report_of(13));
  for (const char* part :
       {"30 M parameters", "4 sequences of 512 tokens", "400 tok/s (300..500)", "40% of the peak of f32, 200 Gop/s",
        "nop 18.0!", "225 tok/s (200..250)  ratio 1.78 (1.50..2.00)", "[512 x 1024] with [1024 x 1024]",
        "forward 80% (80..80), input gradient 50% (50..50), weight gradient 65% (60..70)", "somebody shared the cores"})
    EXPECT_NE(table.find(part), std::string::npos) << part << "\n" << table;
}

TEST(BenchTrain, JsonHasEveryMeasurement) {
  const json::object o = bench_train_json(report_of(18));
  EXPECT_EQ(o.at("format"), "fathom.bench-train");
  EXPECT_EQ(o.at("tokens_per_s").at("median").to_number<double>(), 400);
  EXPECT_EQ(o.at("state"), "quiet");
  EXPECT_EQ(o.at("rivals").as_array()[0].at("ratio").at("max").to_number<double>(), 2);
  EXPECT_EQ(o.at("products").at("weight_gradient_share").at("min").to_number<double>(), 0.6);
}

}  // namespace
}  // namespace fathom
