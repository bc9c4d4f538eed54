// What a run folder tells, for people: finals as a table and one HTML file with curves. Called by `fathom report` and
// by the trainer at the end of a run. Reads files, prints nothing, needs no lock: a running run can be reported on.
#pragma once
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "base/json.h"
#include "train/metrics.h"
#include "train/recipe.h"

namespace fathom {

struct RunSample {
  int64_t step;
  std::string text;
};

struct RunReport {
  std::string name;              ///< of the recipe
  std::filesystem::path folder;  ///< absolute
  Recipe recipe;
  Metrics metrics;
  std::vector<RunSample> samples;  ///< ascending; of many, 8 from the first to the last
};

/// Reads recipe, metrics and samples of a run folder. Throws Error naming the file that is absent or damaged.
RunReport load_run(const std::filesystem::path& folder);

/// Where the run stands, of its last lines: {name, stage, folder, step, loss (mean of the last 10 finite),
/// validation_loss (the smallest), validation_step, reward (mean of the last 10), validation_reward, length, tokens,
/// seconds, tokens_per_second (tokens / seconds), expert_load, joules, energy_source, cost, currency, not_finite (steps
/// whose loss was no number)}. What the run does not have is null.
json::object run_summary(const RunReport& run);

/// Names to tell the runs apart by: the recipe's, with the folder's where two have the same.
std::vector<std::string> run_labels(std::span<const RunReport> runs);

/// The summaries as rows of text, the first one the titles; columns that no run has are left out.
std::vector<std::vector<std::string>> summary_table(std::span<const RunReport> runs);

/// One page without scripts or anything from a network: the table, the curves of all runs over one another (loss,
/// reward, lengths, learning rate, gradient norm, speed, expert load, energy, cost, ...), in what the recipes differ,
/// samples and recipes. Light and dark as the reader's system is.
std::string report_html(std::span<const RunReport> runs);

/// Writes the page of one run into its folder, as report.html.
void write_run_report(const std::filesystem::path& folder);

}  // namespace fathom
