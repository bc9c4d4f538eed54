#include "cli/bench_report.h"

#include <gtest/gtest.h>

#include <sstream>

#include "cli/terminal.h"

namespace fathom {
namespace {

BenchReport report_of(double decode_nops) {
  BenchReport report{
      .processor = "Some Processor", .unit = "int8", .probe_bytes = size_t{1} << 30, .repeat = 3, .huge_pages = true};
  report.engine.path = "/models/a.gguf";
  report.engine.kernels = "avx2";
  report.engine.profile = Profile::kInt8;
  report.engine.threads = 2;
  BenchResult prefill{.kind = BenchResult::Kind::kPrefill, .tokens = 512};
  prefill.tokens_per_s = {{90, 100, 110}};
  prefill.probes = {{20, 300, 18}, {20, 400, 18}, {20, 500, 18}, {20, 400, 18}};
  prefill.bytes_per_token = 2e6;
  prefill.macs_per_token = 1e9;
  BenchResult decode{.kind = BenchResult::Kind::kDecode, .tokens = 64, .depth = 4096, .sequences = 16};
  decode.tokens_per_s = {{9, 12}};
  decode.probes = {{20, 400, decode_nops}, {22, 400, decode_nops}, {21, 400, decode_nops}};
  decode.bytes_per_token = 1e9;
  decode.macs_per_token = 1.5e9;
  report.results = {prefill, decode};
  report.first_token_prompt = 100;
  report.load_s = {{1, 2, 3}};
  report.first_token_s = {{2, 3, 4}};
  report.peak_memory_bytes = uint64_t{3} << 30;
  return report;
}

TEST(BenchReport, MedianAndShares) {
  const BenchReport report = report_of(18);
  const BenchResult &prefill = report.results[0], &decode = report.results[1];
  EXPECT_EQ(prefill.tokens_per_s.median(), 100);
  EXPECT_EQ(decode.tokens_per_s.median(), 10.5);
  EXPECT_DOUBLE_EQ(*prefill.share_of_peak(), 2 * 1e9 * 100 / 400e9);
  EXPECT_DOUBLE_EQ(decode.share_of_read(), 1e9 * 10.5 / 21e9);
  EXPECT_EQ(Samples{}.median(), 0);
}

TEST(BenchReport, TheStateIsComparedWithTheBestOfTheRun) {
  EXPECT_FALSE(report_of(14).is_shared(report_of(14).results[1]));
  EXPECT_TRUE(report_of(9).is_shared(report_of(9).results[1]));
  EXPECT_FALSE(report_of(9).is_shared(report_of(9).results[0]));
}

TEST(BenchReport, Json) {
  BenchReport report = report_of(9);
  report.results[1].probes = {{20, 0, 9}};  // kernels without such a unit
  json::object out = bench_json(report);
  EXPECT_EQ(out.at("format"), "fathom.bench");
  EXPECT_EQ(out.at("version"), 1);
  EXPECT_EQ(out.at("profile"), "int8");
  EXPECT_EQ(out.at("interrupted"), false);
  const json::object& prefill = out.at("results").as_array()[0].as_object();
  EXPECT_EQ(prefill.at("test"), "prefill");
  EXPECT_EQ(prefill.at("tokens_per_s").as_object().at("median"), 100.0);
  EXPECT_EQ(prefill.at("tokens_per_s").as_object().at("values").as_array().size(), 3U);
  EXPECT_EQ(prefill.at("peak_gop_s").as_object().at("max"), 500.0);
  EXPECT_EQ(prefill.at("state"), "quiet");
  const json::object& decode = out.at("results").as_array()[1].as_object();
  EXPECT_TRUE(decode.at("share_of_peak").is_null());
  EXPECT_TRUE(decode.at("peak_gop_s").is_null());
  EXPECT_EQ(decode.at("sequences"), 16);
  EXPECT_EQ(decode.at("state"), "shared");
  EXPECT_EQ(out.at("first_token").as_object().at("prompt_tokens"), 100);
  report.first_token_s = {};
  EXPECT_TRUE(bench_json(report).at("first_token").is_null());
}

TEST(BenchReport, TableFitsIn80Columns) {
  BenchReport report = report_of(9);
  report.interrupted = true;
  const std::string table = bench_table(report);
  std::istringstream lines(table);
  for (std::string line; std::getline(lines, line);) EXPECT_LE(display_width(line), 80U) << line;
  EXPECT_NE(table.find("Some Processor, kernels avx2, 2 threads, profile int8, cache f32"), std::string::npos) << table;
  EXPECT_NE(table.find("prefill 512"), std::string::npos);
  EXPECT_NE(table.find("int8 400    50%"), std::string::npos) << table;
  EXPECT_NE(table.find("decode 16x @4096"), std::string::npos);
  EXPECT_NE(table.find("read 21.0    50%"), std::string::npos) << table;
  EXPECT_NE(table.find("! somebody shared the cores"), std::string::npos);
  EXPECT_NE(table.find("interrupted"), std::string::npos);
  EXPECT_EQ(bench_table(report_of(18)).find("somebody"), std::string::npos);
}

}  // namespace
}  // namespace fathom
