// The HTML page of a report.
#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "train/plot.h"
#include "train/recipe_table.h"
#include "train/report.h"

namespace fathom {
namespace {

constexpr size_t kMostSampleBytes = 4000;

struct Curve {
  const char* field;
  const char* label;  ///< beside the run's name, where a chart has two
  bool dashed = false;
};
struct Chart {
  const char *title, *y_label;
  std::vector<Curve> curves;
  double (*scale)(const Recipe&) = [](const Recipe&) { return 1.0; };
};

const std::vector<Chart>& charts() {
  static const std::vector<Chart> all = {
      {"Loss", "nats per token", {{"loss", "training"}, {"validation_loss", "validation", true}}},
      {"Reward", "mean", {{"reward", "training"}, {"validation_reward", "validation", true}}},
      {"Length of answers", "tokens", {{"length", ""}}},
      {"Truncated answers", "share", {{"truncated", ""}}},
      {"Answers so far", "", {{"answers_kept", "kept"}, {"answers", "drawn", true}}},
      {"Learning rate", "", {{"learning_rate", ""}}},
      {"Gradient norm", "before clipping", {{"gradient_norm", ""}}},
      {"Expert load", "largest over mean", {{"expert_load", ""}}},
      {"Other losses", "nats per token", {{"mtp_loss", "MTP"}, {"balance_loss", "balance", true}}},
      {"Entropy", "nats per token", {{"entropy", ""}}},
      {"KL divergence", "nats per token", {{"kl", "training"}, {"validation_kl", "validation", true}}},
      {"Cross-entropy",
       "nats per token",
       {{"cross_entropy", "training"}, {"validation_cross_entropy", "validation", true}}},
      {"Clipped tokens", "share", {{"clip_high", "high"}, {"clip_low", "low", true}}},
      {"Probability ratio", "trained over sampled", {{"ratio_max", "largest"}, {"ratio_mean", "mean", true}}},
      {"Speed", "tokens per second", {{"tokens_per_second", ""}}},
      {"Use of the machine", "share of peak", {{"peak_share", ""}}},
      {"Energy so far", "Wh", {{"joules", ""}}, [](const Recipe&) { return 1 / 3600.0; }},
      {"Cost so far", "", {{"joules", ""}}, [](const Recipe& r) { return r.energy.price_per_kwh / 3.6e6; }},
  };
  return all;
}

/// The points of one field; a number that was not finite is a gap, a line without the field is no point.
std::vector<Point> points_of(const RunReport& run, const char* field, double scale) {
  std::vector<Point> points;
  for (const json::object& line : run.metrics.steps) {
    const json::value* value = line.if_contains(field);
    if (!value || !(value->is_number() || value->is_null())) continue;
    points.push_back(
        {line.at("step").to_number<double>(), value->is_null() ? NAN : scale * value->to_number<double>()});
  }
  return points;
}

std::string chart_svg(const Chart& chart, std::span<const RunReport> runs, const std::vector<std::string>& names) {
  Plot plot{chart.title, "step", chart.y_label, {}};
  for (size_t i = 0; i < runs.size(); ++i) {
    const double scale = chart.scale(runs[i].recipe);
    if (scale == 0) continue;
    if (chart.title == std::string_view("Cost so far")) plot.y_label = runs[i].recipe.energy.currency;
    for (const Curve& curve : chart.curves) {
      std::vector<Point> points = points_of(runs[i], curve.field, scale);
      if (std::none_of(points.begin(), points.end(), [](const Point& p) { return std::isfinite(p.y); })) continue;
      const std::string label =
          runs.size() == 1 ? std::string(curve.label) : cat(names[i], *curve.label ? ", " : "", curve.label);
      plot.series.push_back({label, runs.size() == 1 && curve.dashed ? 1 : i, curve.dashed, std::move(points)});
    }
  }
  return to_svg(plot);
}

std::string table_html(const std::vector<std::vector<std::string>>& rows) {
  std::string out = "<div class=\"wide\"><table>\n";
  for (size_t i = 0; i < rows.size(); ++i) {
    const char* tag = i == 0 ? "th" : "td";
    out += "<tr>";
    for (const std::string& text : rows[i]) out += cat("<", tag, ">", html_escaped(text), "</", tag, ">");
    out += "</tr>\n";
  }
  return out + "</table></div>\n";
}

/// The keys whose values are not the same in all recipes; only the titles where there is none.
std::vector<std::vector<std::string>> differences(std::span<const RunReport> runs,
                                                  const std::vector<std::string>& names) {
  std::vector<std::vector<std::string>> rows = {{"key"}};
  rows[0].insert(rows[0].end(), names.begin(), names.end());
  for (const RecipeKey& key : recipe_keys()) {
    std::vector<std::string> row = {key.name()};
    for (const RunReport& run : runs) {
      Recipe copy = run.recipe;
      row.push_back(recipe_value_text(key.slot(copy)));
    }
    if (std::any_of(row.begin() + 1, row.end(), [&](const std::string& x) { return x != row[1]; })) rows.push_back(row);
  }
  return rows;
}

/// At most kMostSampleBytes, cut between characters, and says so.
std::string sample_text(const std::string& text) {
  if (text.size() <= kMostSampleBytes) return text;
  size_t end = kMostSampleBytes;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
  return cat(text.substr(0, end), "\n[", text.size() - end, " more bytes in the run's folder]");
}

constexpr const char* kStyle = R"(
:root { color-scheme: light dark; --page: #fff; --text: #1c1f23; --faint: #667; --line: #d9dde3;
  --c0: #1f6feb; --c1: #d1570b; --c2: #1a7f47; --c3: #a8329b; --c4: #9a6700; --c5: #0b7d8c; --c6: #c2283f; --c7: #5b5bd6; }
@media (prefers-color-scheme: dark) {
  :root { --page: #14171b; --text: #e6e8eb; --faint: #9aa3ad; --line: #31363d;
    --c0: #6cb0ff; --c1: #ff9b5c; --c2: #5fd08f; --c3: #e58adb; --c4: #e3b341; --c5: #58c7d6; --c6: #ff7b88; --c7: #a5a5ff; }
}
body { background: var(--page); color: var(--text); font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto;
  max-width: 1180px; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2rem; }
.charts { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fit, minmax(min(100%, 480px), 1fr)); }
.wide { overflow-x: auto; } table { border-collapse: collapse; }
th, td { border-bottom: 1px solid var(--line); padding: .25rem .75rem .25rem 0; text-align: left; white-space: nowrap; }
th { color: var(--faint); font-weight: 600; }
svg { height: auto; width: 100%; } svg text { fill: var(--faint); font: 11px system-ui, sans-serif; }
svg text.title { fill: var(--text); font-size: 13px; font-weight: 600; } svg line { stroke: var(--line); }
.curve { fill: none; stroke: var(--c); stroke-width: 1.6; stroke-linejoin: round; } .dashed { stroke-dasharray: 5 3; }
.faint { stroke-opacity: .3; stroke-width: 1; } circle.curve { fill: var(--c); }
pre { background: color-mix(in srgb, var(--line) 35%, transparent); overflow-x: auto; padding: .75rem;
  white-space: pre-wrap; overflow-wrap: anywhere; }
summary { cursor: pointer; }
)";

}  // namespace

std::string report_html(std::span<const RunReport> runs) {
  const std::vector<std::string> names = run_labels(runs);
  std::string title;
  for (const std::string& name : names) title += cat(title.empty() ? "" : ", ", name);
  std::string out = cat("<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n",
                        "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>",
                        html_escaped(title), "</title>\n<style>", kStyle, "</style>\n</head>\n<body>\n<h1>",
                        html_escaped(title), "</h1>\n", table_html(summary_table(runs)), "<div class=\"charts\">\n");
  for (const Chart& chart : charts()) out += chart_svg(chart, runs, names);
  out += "</div>\n";
  if (const auto rows = differences(runs, names); rows.size() > 1)
    out += "<h2>In what the recipes differ</h2>\n" + table_html(rows);
  for (size_t i = 0; i < runs.size(); ++i) {
    if (runs[i].samples.empty()) continue;
    out += cat("<h2>Samples of ", html_escaped(names[i]), "</h2>\n");
    for (const RunSample& sample : runs[i].samples)
      out += cat("<details><summary>step ", sample.step, "</summary><pre>", html_escaped(sample_text(sample.text)),
                 "</pre></details>\n");
  }
  for (size_t i = 0; i < runs.size(); ++i)
    out += cat("<h2>Recipe of ", html_escaped(names[i]), "</h2>\n<details><summary>as run</summary><pre>",
               html_escaped(to_toml(runs[i].recipe)), "</pre></details>\n");
  return out + "</body>\n</html>\n";
}

}  // namespace fathom
