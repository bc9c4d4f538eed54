#include "train/report.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <map>
#include <optional>

#include "base/energy.h"
#include "base/error.h"
#include "formats/atomic_file.h"
#include "train/run_folder.h"

namespace fathom {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMostSamples = 8, kLastSteps = 10;

std::optional<double> number(const json::object& line, std::string_view key) {
  const json::value* value = line.if_contains(key);
  return value && value->is_number() ? std::optional(value->to_number<double>()) : std::nullopt;
}

std::optional<double> last(const RunReport& run, std::string_view key) {
  for (auto line = run.metrics.steps.rbegin(); line != run.metrics.steps.rend(); ++line)
    if (const std::optional<double> x = number(*line, key)) return x;
  return std::nullopt;
}

/// Mean of the last ten that there are.
std::optional<double> recent(const RunReport& run, std::string_view key) {
  double sum = 0;
  size_t count = 0;
  for (auto line = run.metrics.steps.rbegin(); line != run.metrics.steps.rend() && count < kLastSteps; ++line)
    if (const std::optional<double> x = number(*line, key)) sum += *x, ++count;
  return count ? std::optional(sum / static_cast<double>(count)) : std::nullopt;
}

json::value or_null(std::optional<double> x) { return x ? json::value(*x) : json::value(); }

std::string short_number(double x) {
  char text[32];
  std::snprintf(text, sizeof text, std::fabs(x) >= 1e4 ? "%.0f" : "%.4g", x);
  return text;
}

std::string duration(double seconds) {
  const auto s = static_cast<int64_t>(std::llround(seconds));
  char text[48];
  std::snprintf(text, sizeof text, "%lld:%02lld:%02lld", static_cast<long long>(s / 3600),
                static_cast<long long>(s / 60 % 60), static_cast<long long>(s % 60));
  return text;
}

std::string cell(const json::value& value) {
  if (value.is_null()) return "";
  if (value.is_string()) return std::string(value.get_string());
  return short_number(value.to_number<double>());
}

struct Column {
  const char *key, *title;
};
constexpr Column kColumns[] = {
    {"name", "run"},
    {"stage", "stage"},
    {"step", "steps"},
    {"loss", "loss"},
    {"validation_loss", "best validation loss"},
    {"validation_step", "at step"},
    {"reward", "reward"},
    {"validation_reward", "validation reward"},
    {"length", "length"},
    {"expert_load", "expert load"},
    {"tokens", "tokens"},
    {"tokens_per_second", "tokens/s"},
    {"seconds", "time"},
    {"joules", "energy"},
    {"energy_source", "by"},
    {"cost", "cost"},
    {"not_finite", "steps not finite"},
};

std::string cell_of(const json::object& summary, std::string_view key) {
  const json::value& value = summary.at(key);
  if (value.is_null()) return "";
  if (key == "seconds") return duration(value.to_number<double>());
  if (key == "joules") return short_number(value.to_number<double>() / 3600) + " Wh";
  if (key == "cost") return cell(value) + " " + cell(summary.at("currency"));
  if (key == "not_finite" && value.to_number<int64_t>() == 0) return "";
  return cell(value);
}

std::optional<int64_t> sample_step(const std::string& name) {
  constexpr std::string_view kBegin = "step-", kEnd = ".txt";
  if (!name.starts_with(kBegin) || !name.ends_with(kEnd)) return std::nullopt;
  const char* end = name.data() + name.size() - kEnd.size();
  int64_t step = 0;
  const auto [at, error] = std::from_chars(name.data() + kBegin.size(), end, step);
  return error == std::errc{} && at == end ? std::optional(step) : std::nullopt;
}

std::vector<RunSample> load_samples(const fs::path& folder) {
  std::map<int64_t, fs::path> files;
  std::error_code absent;
  for (fs::directory_iterator at(folder, absent), end; !absent && at != end; at.increment(absent))
    if (const std::optional<int64_t> step = sample_step(at->path().filename().string())) files[*step] = at->path();
  std::vector<RunSample> samples;
  const size_t count = std::min(files.size(), kMostSamples);
  for (size_t i = 0; i < count; ++i) {
    const size_t index = count == files.size() ? i : i * (files.size() - 1) / (count - 1);
    const auto& [step, path] = *std::next(files.begin(), static_cast<ptrdiff_t>(index));
    samples.push_back({step, read_text_file(path, uint64_t{16} << 20)});
  }
  return samples;
}

}  // namespace

RunReport load_run(const fs::path& folder) {
  if (!fs::is_regular_file(run_recipe_path(folder)))
    throw Error(cat(folder.string(), ": expected the folder of a run, found no recipe.toml in it"));
  RunReport run;
  run.folder = fs::canonical(folder);
  run.recipe = read_recipe(run_recipe_path(folder));
  run.name = run.recipe.name;
  run.metrics = read_metrics(run_metrics_path(folder));
  run.samples = load_samples(run_samples_path(folder));
  return run;
}

json::object run_summary(const RunReport& run) {
  std::optional<double> best, best_step, cost;
  int64_t not_finite = 0;
  json::value source;
  for (const json::object& line : run.metrics.steps) {
    if (const json::value* loss = line.if_contains("loss"); loss && loss->is_null()) ++not_finite;
    if (const json::value* by = line.if_contains("energy_source"); by && by->is_string()) source = *by;
    const std::optional<double> x = number(line, "validation_loss");
    if (x && (!best || *x < *best)) best = x, best_step = number(line, "step");
  }
  const std::optional<double> tokens = last(run, "tokens"), seconds = last(run, "seconds"),
                              joules = last(run, "joules");
  if (joules && run.recipe.energy.price_per_kwh > 0) cost = energy_cost(*joules, run.recipe.energy.price_per_kwh);
  const bool timed = tokens && seconds && *seconds > 0;
  return {{"name", run.name},
          {"stage", run.recipe.stage},
          {"folder", run.folder.string()},
          {"step", or_null(last(run, "step"))},
          {"loss", or_null(recent(run, "loss"))},
          {"validation_loss", or_null(best)},
          {"validation_step", or_null(best_step)},
          {"reward", or_null(recent(run, "reward"))},
          {"validation_reward", or_null(last(run, "validation_reward"))},
          {"length", or_null(recent(run, "length"))},
          {"tokens", or_null(tokens)},
          {"seconds", or_null(seconds)},
          {"tokens_per_second", timed ? json::value(*tokens / *seconds) : json::value()},
          {"expert_load", or_null(last(run, "expert_load"))},
          {"joules", or_null(joules)},
          {"energy_source", source},
          {"cost", or_null(cost)},
          {"currency", cost ? json::value(run.recipe.energy.currency) : json::value()},
          {"not_finite", not_finite}};
}

std::vector<std::string> run_labels(std::span<const RunReport> runs) {
  std::vector<std::string> out;
  for (const RunReport& run : runs) {
    const auto same = std::count_if(runs.begin(), runs.end(), [&](const RunReport& r) { return r.name == run.name; });
    out.push_back(same == 1 ? run.name : cat(run.name, " (", run.folder.filename().string(), ")"));
  }
  return out;
}

std::vector<std::vector<std::string>> summary_table(std::span<const RunReport> runs) {
  std::vector<std::vector<std::string>> rows(runs.size() + 1);
  std::vector<json::object> summaries;
  const std::vector<std::string> labels = run_labels(runs);
  for (size_t i = 0; i < runs.size(); ++i) {
    summaries.push_back(run_summary(runs[i]));
    summaries.back()["name"] = labels[i];
  }
  for (const Column& column : kColumns) {
    std::vector<std::string> cells;
    cells.reserve(runs.size());
    for (const json::object& summary : summaries) cells.push_back(cell_of(summary, column.key));
    if (std::all_of(cells.begin(), cells.end(), [](const std::string& text) { return text.empty(); })) continue;
    rows[0].emplace_back(column.title);
    for (size_t i = 0; i < cells.size(); ++i) rows[i + 1].push_back(cells[i]);
  }
  return rows;
}

void write_run_report(const fs::path& folder) {
  const RunReport run = load_run(folder);
  const std::string page = report_html({&run, 1});
  AtomicFile file(run_report_path(folder));
  file.write(page.data(), page.size());
  file.commit();
}

}  // namespace fathom
