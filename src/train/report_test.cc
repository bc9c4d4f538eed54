// A report of runs made here: numbers of the table by hand, the page as XML-like text, curves by their points.
#include "train/report.h"

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>

#include "base/error.h"
#include "tests/testing.h"
#include "train/plot.h"
#include "train/run_folder.h"

namespace fathom {
namespace {

class Reports : public ::testing::Test {
 protected:
  /// 20 steps: loss 10 - step / 2 (step 7: none), validation at 5, 10, 15, 20 with the least at 15.
  std::filesystem::path make(const std::string& folder, int64_t seed) const {
    Recipe recipe;
    recipe.name = "a <b> & \"c\"";
    recipe.seed = seed;
    recipe.model.start = "OWNER/NAME";
    recipe.data.train = {"/data/a.txt"};
    recipe.energy.price_per_kwh = 0.5;
    recipe.energy.currency = "EUR";
    const std::filesystem::path path = dir_.path() / folder;
    RunFolder run = RunFolder::create(path, recipe);
    MetricsLog log(run_metrics_path(path), json::object{{"name", "x"}});
    for (int64_t step = 1; step <= 20; ++step) {
      const double x = static_cast<double>(step);
      json::object line{
          {"step", step},       {"loss", step == 7 ? NAN : 10 - x / 2}, {"tokens", 100 * step}, {"seconds", x * 2},
          {"joules", 36e3 * x}, {"energy_source", "stated: 18 W"},      {"learning_rate", 1e-3}};
      if (step % 5 == 0) line["validation_loss"] = step == 15 ? 1.5 : 2.0;
      log.append(line);
    }
    for (int64_t step = 1; step <= 22; ++step) run.write_sample(step, cat("step ", step, " <script>alert(1)</script>"));
    return path;
  }
  testing::TempDir dir_;
};

size_t count(const std::string& text, std::string_view part) {
  size_t n = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++n;
  return n;
}

TEST_F(Reports, SummarySaysWhereTheRunStands) {
  const RunReport run = load_run(make("one", 1));
  const json::object summary = run_summary(run);
  EXPECT_EQ(summary.at("step").to_number<int>(), 20);
  EXPECT_DOUBLE_EQ(summary.at("loss").as_double(), 10 - 15.5 / 2);  // mean over steps 11 to 20
  EXPECT_EQ(summary.at("validation_loss").as_double(), 1.5);
  EXPECT_EQ(summary.at("validation_step").to_number<int>(), 15);
  EXPECT_EQ(summary.at("tokens_per_second").as_double(), 50);
  EXPECT_EQ(summary.at("joules").as_double(), 720e3);
  EXPECT_DOUBLE_EQ(summary.at("cost").as_double(), 0.1);  // 0.2 kWh
  EXPECT_EQ(summary.at("not_finite").as_int64(), 1);
  EXPECT_TRUE(summary.at("reward").is_null());
  const auto rows = summary_table(std::span(&run, 1));
  EXPECT_EQ(rows[0],
            (std::vector<std::string>{"run", "stage", "steps", "loss", "best validation loss", "at step", "tokens",
                                      "tokens/s", "time", "energy", "by", "cost", "steps not finite"}));
  EXPECT_EQ(rows[1], (std::vector<std::string>{"a <b> & \"c\"", "pretrain", "20", "2.25", "1.5", "15", "2000", "50",
                                               "0:00:40", "200 Wh", "stated: 18 W", "0.1 EUR", "1"}));
  ASSERT_EQ(run.samples.size(), 8u);
  EXPECT_EQ(run.samples.front().step, 1);
  EXPECT_EQ(run.samples.back().step, 22);
}

TEST_F(Reports, PageIsOneFileThatRunsNothing) {
  const RunReport run = load_run(make("one", 1));
  const std::string page = report_html(std::span(&run, 1));
  for (const char* forbidden :
       {"<script", "http:", "https:", "src=", "href=", "@import", "url(", "<b>", "Lnan", "\"nan"})
    EXPECT_EQ(count(page, forbidden), 0u) << forbidden;
  EXPECT_EQ(count(page, "<svg "), 4u) << "loss, learning rate, energy, cost";
  EXPECT_EQ(count(page, "&lt;script&gt;"), 8u);
  EXPECT_NE(page.find("prefers-color-scheme: dark"), std::string::npos);
  EXPECT_NE(page.find("price_per_kwh = 0.5"), std::string::npos);
  for (const char* tag : {"svg", "table", "tr", "td", "th", "div", "details", "pre", "text", "h2"})
    EXPECT_EQ(count(page, cat("<", tag, ">")) + count(page, cat("<", tag, " ")), count(page, cat("</", tag, ">")))
        << tag;
  EXPECT_EQ(count(page, ">training</text>"), 1u);
  EXPECT_EQ(count(page, "In what the recipes differ"), 0u);
}

TEST_F(Reports, ComparesRuns) {
  const RunReport runs[] = {load_run(make("one", 1)), load_run(make("two", 2))};
  const std::string page = report_html(runs);
  EXPECT_EQ(summary_table(runs)[2][0], "a <b> & \"c\" (two)");
  EXPECT_NE(page.find("(one), training"), std::string::npos);
  EXPECT_NE(page.find("(two), validation"), std::string::npos);
  EXPECT_NE(page.find("<td>seed</td><td>1</td><td>2</td>"), std::string::npos);
  EXPECT_EQ(count(page, "<svg "), 4u);
}

TEST_F(Reports, NeedsARun) {
  EXPECT_THROW(load_run(dir_.path()), Error);
  const std::filesystem::path path = make("one", 1);
  std::filesystem::remove(run_metrics_path(path));
  EXPECT_THROW(load_run(path), Error);
}

TEST(Plots, TicksAreRoundAndWithin) {
  EXPECT_EQ(axis_ticks(0, 10, 5), (std::vector<double>{0, 2, 4, 6, 8, 10}));
  EXPECT_EQ(axis_ticks(-1, 1, 4), (std::vector<double>{-1, -0.5, 0, 0.5, 1}));
  EXPECT_EQ(axis_ticks(1, 1, 5), std::vector<double>());
  for (const double scale : {1e-9, 1e-3, 1.0, 7.0, 1e12}) {
    const std::vector<double> ticks = axis_ticks(0.3 * scale, 2.2 * scale, 5);
    EXPECT_GE(ticks.size(), 3u);
    EXPECT_GE(ticks.front(), 0.3 * scale * (1 - 1e-6));
    EXPECT_LE(ticks.back(), 2.2 * scale * (1 + 1e-6));
  }
}

TEST(Plots, ThinningKeepsSpikesAndGaps) {
  Plot plot{"t", "x", "y", {{"s", 0, false, {}}}};
  for (int i = 0; i < 100000; ++i)
    plot.series[0].points.push_back({static_cast<double>(i), i == 77777 ? 1000.0 : i == 50000 ? NAN : std::sin(i)});
  const std::string svg = to_svg(plot);
  EXPECT_LT(svg.size(), 20000u);
  const std::string path = svg.substr(svg.find("d=\"M"));
  const std::string curve = path.substr(0, path.find("/>"));
  EXPECT_EQ(count(curve, "M"), 2u) << "one gap";
  EXPECT_NE(curve.find(" 40.5"), std::string::npos) << "the spike reaches the top: " << curve.substr(0, 200);
  EXPECT_EQ(to_svg(Plot{"t", "x", "y", {{"s", 0, false, {{1, NAN}}}}}), "");
  EXPECT_NE(to_svg(Plot{"t", "x", "y", {{"s", 0, false, {{1, 5}}}}}).find("<circle"), std::string::npos);
}

}  // namespace
}  // namespace fathom
