// fathom report: what training runs came to, as a table and a page.
#include "train/report.h"

#include <CLI/CLI.hpp>
#include <algorithm>

#include "base/error.h"
#include "cli/commands.h"
#include "cli/output.h"
#include "cli/sanitize.h"
#include "formats/atomic_file.h"
#include "train/run_folder.h"

namespace fathom {
namespace {

struct Arguments {
  std::vector<std::string> folders;
  std::string out;
  bool as_json = false;
};

/// The rows in columns; the first column may hold anything a recipe says. Widths are in characters.
std::string columns(std::vector<std::vector<std::string>> rows) {
  const auto width = [](const std::string& text) {
    return static_cast<size_t>(std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; }));
  };
  std::vector<size_t> widths(rows.front().size());
  for (auto& row : rows)
    for (size_t i = 0; i < row.size(); ++i) {
      row[i] = sanitized(row[i]);
      std::replace(row[i].begin(), row[i].end(), '\n', ' ');
      widths[i] = std::max(widths[i], width(row[i]));
    }
  std::string out;
  for (const auto& row : rows) {
    for (size_t i = 0; i + 1 < row.size(); ++i) out += row[i] + std::string(widths[i] + 2 - width(row[i]), ' ');
    out += row.back() + "\n";
  }
  return out;
}

int report(const Arguments& arguments) {
  std::vector<RunReport> runs;
  for (const std::string& folder : arguments.folders) runs.push_back(load_run(folder));
  const std::filesystem::path out = !arguments.out.empty() ? std::filesystem::path(arguments.out)
                                    : runs.size() == 1     ? run_report_path(arguments.folders[0])
                                                           : "report.html";
  const std::string page = report_html(runs);
  AtomicFile file(out);
  file.write(page.data(), page.size());
  file.commit();
  if (arguments.as_json) {
    json::array summaries;
    for (const RunReport& run : runs) summaries.push_back(run_summary(run));
    print_out(
        to_json(
            json::object{
                {"format", "fathom.report"}, {"version", 1}, {"out", out.string()}, {"runs", std::move(summaries)}},
            {.indent = 2}) +
        "\n");
    return 0;
  }
  print_out(columns(summary_table(runs)));
  print_err(sanitized(cat("wrote ", out.string())) + "\n");
  return 0;
}

}  // namespace

void add_report(CLI::App& app, Invocation& invocation) {
  CLI::App* command = app.add_subcommand("report", "What training runs came to: a table, and a page with curves.");
  const auto arguments = std::make_shared<Arguments>();
  command->add_option("folders", arguments->folders, "folders of runs; several are compared")
      ->type_name("DIR")
      ->required();
  command->add_option("--out", arguments->out, "the page (default: DIR/report.html; of several ./report.html)")
      ->type_name("FILE");
  command->add_flag("--json", arguments->as_json, "print an object: {out, runs: [{name, loss, validation_loss, ...}]}");
  command->footer("Example:  fathom report runs/shakespeare-1 runs/shakespeare-2 --out seeds.html");
  command->callback(
      [&invocation, arguments] { invocation.run = [arguments](const Settings&) { return report(*arguments); }; });
}

}  // namespace fathom
