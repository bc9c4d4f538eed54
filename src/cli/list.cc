// fathom list: the models on this disk.
#include <CLI/CLI.hpp>
#include <ctime>

#include "base/error.h"
#include "cli/commands.h"
#include "cli/folders.h"
#include "cli/output.h"
#include "cli/sanitize.h"
#include "hub/model_folder.h"

namespace fathom {
namespace {

std::string date_text(int64_t seconds, const char* format) {
  const auto time = static_cast<time_t>(seconds);
  std::tm tm{};
  char text[64] = "";
  if (::gmtime_r(&time, &tm)) std::strftime(text, sizeof text, format, &tm);
  return text;
}

std::string state_text(const LocalModel& model) {
  if (model.complete) return "complete";
  std::string text = model.running ? "being pulled" : "partial";
  if (model.total > model.size)
    text +=
        cat(", ",
            100 * (static_cast<double>(model.size) / static_cast<double>(model.total)) >= 1
                ? cat(static_cast<int>(100 * (static_cast<double>(model.size) / static_cast<double>(model.total))), "%")
                : "0%",
            " of ", size_text(model.total));
  return text;
}

json::object to_object(const LocalModel& model) {
  json::object out{{"name", model.name},        {"path", model.path.string()},
                   {"type", model.type},        {"state", model.complete ? "complete" : "partial"},
                   {"running", model.running},  {"size", model.size},
                   {"total_size", model.total}, {"modified", date_text(model.modified_s, "%Y-%m-%dT%H:%M:%SZ")}};
  out["revision"] = model.revision.empty() ? json::value() : json::value(model.revision);
  out["commit"] = model.commit.empty() ? json::value() : json::value(model.commit);
  return out;
}

std::string table(const std::vector<LocalModel>& models) {
  std::vector<std::array<std::string, 5>> rows = {{"NAME", "TYPE", "SIZE", "DATE", "STATE"}};
  for (const LocalModel& model : models)
    rows.push_back({sanitized(model.name), model.type, size_text(model.size), date_text(model.modified_s, "%Y-%m-%d"),
                    state_text(model)});
  std::array<size_t, 5> widths{};
  for (const auto& row : rows)
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  std::string out;
  for (const auto& row : rows) {
    for (size_t i = 0; i + 1 < row.size(); ++i) out += row[i] + std::string(widths[i] + 2 - row[i].size(), ' ');
    out += row.back() + "\n";
  }
  return out;
}

int list(bool as_json) {
  const std::vector<LocalModel> models = local_models(models_folder());
  if (as_json) {
    json::array entries;
    for (const LocalModel& model : models) entries.push_back(to_object(model));
    print_out(to_json(json::object{{"format", "fathom.list"},
                                   {"version", 1},
                                   {"folder", models_folder().string()},
                                   {"models", std::move(entries)}},
                      {.indent = 2}) +
              "\n");
  } else if (models.empty()) {
    print_err(sanitized(cat("no model is in ", models_folder().string(), "; fathom pull OWNER/NAME fetches one")) +
              "\n");
  } else {
    print_out(table(models));
  }
  return 0;
}

}  // namespace

void add_list(CLI::App& app, Invocation& invocation) {
  CLI::App* command = app.add_subcommand("list", "The models on this disk, complete or not.");
  const auto as_json = std::make_shared<bool>(false);
  command->add_flag("--json", *as_json, "print an object: {models: [{name, type, state, size, ...}]}");
  command->footer("Example:  fathom list");
  command->callback([&invocation, as_json] { invocation.run = [as_json](const Settings&) { return list(*as_json); }; });
}

}  // namespace fathom
