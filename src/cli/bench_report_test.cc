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
  EXPECT_FALSE(report_of(14).is_shared(report_of(14).results[1].probes));
  EXPECT_TRUE(report_of(9).is_shared(report_of(9).results[1].probes));
  EXPECT_FALSE(report_of(9).is_shared(report_of(9).results[0].probes));
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

BenchReport with_rivals() {
  BenchReport report = report_of(18);
  report.results[0].rivals = {{"first {model}", {{45, 50, 60}}}, {"second\x1b", {{200}}}};
  report.results[1].rivals = {{"first {model}", {}}, {"second\x1b", {{6, 3, 1}}}};
  report.quality = {.windows = 8,
                    .window = 512,
                    .tokens = 4088,
                    .perplexity = 30.57139,
                    .perplexity_exact = 30.35639,
                    .kl = 2.99e-3,
                    .kl_99 = 1.5e-2,
                    .kl_max = 0.1,
                    .same_best = 0.9628};
  report.quality_text = "a.txt";
  return report;
}

TEST(BenchReport, TheRatioIsOfMediansItsRangeOfPairs) {
  const BenchReport report = with_rivals();
  const BenchResult& r = report.results[0];
  const SpeedRatio ratio = *speed_ratio(r.tokens_per_s, r.rivals[0].tokens_per_s);
  EXPECT_EQ(ratio.of_medians, 2);
  EXPECT_DOUBLE_EQ(ratio.least, 110.0 / 60);
  EXPECT_EQ(ratio.most, 2);
  EXPECT_DOUBLE_EQ(speed_ratio(r.tokens_per_s, r.rivals[1].tokens_per_s)->most, 90.0 / 200);  // the one pair
  EXPECT_FALSE(speed_ratio(r.tokens_per_s, {}));
}

TEST(BenchReport, RivalsAndQualityInJson) {
  const json::object out = bench_json(with_rivals());
  const json::array& first = out.at("results").as_array()[0].as_object().at("rivals").as_array();
  EXPECT_EQ(first[0].as_object().at("command"), "first {model}");
  EXPECT_EQ(first[0].as_object().at("tokens_per_s").as_object().at("median"), 50.0);
  EXPECT_EQ(first[0].as_object().at("ratio").as_object().at("of_medians"), 2.0);
  const json::array& second = out.at("results").as_array()[1].as_object().at("rivals").as_array();
  EXPECT_TRUE(second[0].as_object().at("tokens_per_s").is_null());
  EXPECT_TRUE(second[0].as_object().at("ratio").is_null());
  EXPECT_EQ(out.at("quality").as_object().at("kl"), 2.99e-3);
  EXPECT_EQ(out.at("quality").as_object().at("tokens"), 4088);
  EXPECT_TRUE(bench_json(report_of(18)).at("quality").is_null());
}

TEST(BenchReport, RivalsAndQualityInTheTable) {
  const std::string table = bench_table(with_rivals());
  std::istringstream lines(table);
  for (std::string line; std::getline(lines, line);) EXPECT_LE(display_width(line), 80U) << line;
  for (const char* part :
       {"  rival 1           50.0      45.0..60.0   ratio 2.00 (1.83..2.00)\n", "not measured: no {batch}\n",
        "ratio 3.50 (1.50..4.00)", "KL from exact 2.99e-03 nats/token, 99% below 1.5e-02\n",
        "perplexity 30.57139, exact 30.35639 (+0.71%)\n", "8 windows of 512 tokens of a.txt\n",
        "rival 1        first {model}\n", "rival 2        second\u241b\n"})
    EXPECT_NE(table.find(part), std::string::npos) << part << "\n" << table;
}

BenchReport with_speculation() {
  BenchReport report = report_of(18);
  report.verify = VerifyResult{
      .depth = 4096, .probes = {{20, 400, 9}}, .passes = {{1, {{0.1, 0.11}}}, {2, {{0.12, 0.15}}}, {8, {{0.3}}}}};
  report.transcripts = {{.name = "a long and telling name of a text.txt",
                         .tokens = 1200,
                         .speculation = {.passes = 801, .drafted = 900, .accepted = 400},
                         .tokens_per_pass = 1.5,
                         .tokens_per_s = {{140, 150, 160}},
                         .tokens_per_s_off = {{100, 125, 80}},
                         .probes = {{20, 400, 18}}}};
  return report;
}

TEST(BenchReport, SpeculationInJson) {
  const json::object out = bench_json(with_speculation());
  const json::object& verify = out.at("verify").as_object();
  EXPECT_EQ(verify.at("depth"), 4096);
  EXPECT_EQ(verify.at("state"), "shared");
  const json::object& two = verify.at("passes").as_array()[1].as_object();
  EXPECT_EQ(two.at("rows"), 2);
  EXPECT_EQ(two.at("seconds").as_object().at("max"), 0.15);
  EXPECT_DOUBLE_EQ(two.at("cost").as_object().at("of_medians").as_double(), 0.135 / 0.105);
  EXPECT_DOUBLE_EQ(two.at("cost").as_object().at("max").as_double(), 0.15 / 0.11);
  const json::object& text = out.at("transcripts").as_array()[0].as_object();
  EXPECT_EQ(text.at("accepted_tokens"), 400);
  EXPECT_EQ(text.at("tokens_per_pass"), 1.5);
  EXPECT_EQ(text.at("ratio").as_object().at("of_medians"), 1.5);
  EXPECT_EQ(text.at("ratio").as_object().at("min"), 1.2);
  EXPECT_EQ(text.at("state"), "quiet");
  EXPECT_TRUE(bench_json(report_of(18)).at("verify").is_null());
}

TEST(BenchReport, SpeculationInTheTable) {
  const std::string table = bench_table(with_speculation());
  std::istringstream lines(table);
  for (std::string line; std::getline(lines, line);) EXPECT_LE(display_width(line), 80U) << line;
  for (const char* part :
       {"verify         a pass over one token @4096: 105 ms!\n",
        "               over 8: 2.86 (3.00..3.00) times that\n", "replay a long and telling name of a text.txt\n",
        "  1.50 tokens per pass; 150 tok/s, 100 without, ratio 1.50 (1.20..2.00)\n",
        "  1200 tokens; guessed 900, right 400\n", "! somebody shared the cores"})
    EXPECT_NE(table.find(part), std::string::npos) << part << "\n" << table;
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
