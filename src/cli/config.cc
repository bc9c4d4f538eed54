// fathom config: every setting, its value and where it came from.
#include <CLI/CLI.hpp>

#include "base/error.h"
#include "cli/commands.h"
#include "cli/folders.h"
#include "cli/output.h"
#include "cli/sanitize.h"

namespace fathom {
namespace {

const char* folder_source(const char* xdg) {
  if (const char* home = std::getenv("FATHOM_HOME"); home && *home) return "FATHOM_HOME";
  const char* value = std::getenv(xdg);
  return value && *value == '/' ? xdg : "default";
}

json::object folders() {
  const auto entry = [](const std::filesystem::path& path, const char* xdg) {
    return json::object{{"value", path.string()}, {"source", folder_source(xdg)}};
  };
  return {{"models", entry(models_folder(), "XDG_DATA_HOME")},
          {"config.toml", entry(config_folder() / "config.toml", "XDG_CONFIG_HOME")},
          {"state", entry(state_folder(), "XDG_STATE_HOME")},
          {"repacked weights", entry(repack_folder(), "XDG_CACHE_HOME")}};
}

std::string table(const json::object& entries) {
  size_t name_width = 0, value_width = 0;
  for (const auto& [name, entry] : entries) {
    name_width = std::max(name_width, name.size());
    value_width = std::max(value_width, entry.at("value").as_string().size());
  }
  std::string out;
  for (const auto& [name, entry] : entries) {
    const std::string value(entry.at("value").as_string());
    out += std::string(name) + std::string(name_width + 2 - name.size(), ' ') + value +
           std::string(value_width + 2 - value.size(), ' ') + std::string(entry.at("source").as_string()) + "\n";
  }
  return sanitized(out);
}

}  // namespace

void add_config(CLI::App& app, Invocation& invocation) {
  CLI::App* command = app.add_subcommand("config", "Every setting, its value and where it came from.");
  const auto as_json = std::make_shared<bool>(false);
  command->add_flag("--json", *as_json, "print an object: {settings: {name: {value, source}}, folders: {...}}");
  add_engine_flags(*command, invocation);
  add_answer_flags(*command, invocation);
  command->footer("Example:  fathom config --json\nSources: default, config.toml, environment, flags; the later wins.");
  command->callback([&invocation, as_json] {
    invocation.run = [as_json](const Settings& settings) {
      if (*as_json) {
        const json::object out{
            {"format", "fathom.config"}, {"version", 1}, {"settings", settings.to_json()}, {"folders", folders()}};
        print_out(to_json(out, {.indent = 2}) + "\n");
      } else {
        print_out(table(settings.to_json()) + "\n" + table(folders()));
      }
      return 0;
    };
  });
}

}  // namespace fathom
