#include <signal.h>

#include <CLI/CLI.hpp>
#include <algorithm>

#include "base/error.h"
#include "base/log.h"
#include "cli/commands.h"
#include "cli/folders.h"
#include "cli/terminal.h"

namespace fathom {
namespace {

LogLevel log_level(const std::string& name) {
  if (name == "debug") return LogLevel::kDebug;
  if (name == "info") return LogLevel::kInfo;
  if (name == "error") return LogLevel::kError;
  return name == "off" ? LogLevel::kOff : LogLevel::kWarning;
}

}  // namespace

void add_setting_flags(CLI::App& command, Invocation& invocation, std::initializer_list<const char*> names) {
  for (const char* name : names)
    for (const SettingSpec& spec : setting_specs()) {
      if (std::string_view(spec.name) != name) continue;
      std::string help = spec.help;
      if (*spec.choices) help += std::string(": ") + spec.choices;
      help += std::string(" (default: ") + spec.by_default + ")";
      const auto keep = [&invocation, key = std::string(name)](const std::string& value) {
        invocation.flags.emplace_back(key, value);
      };
      command.add_option_function<std::string>("--" + std::string(name), keep, help)->type_name("VALUE")->take_last();
    }
}

void add_engine_flags(CLI::App& command, Invocation& invocation) {
  add_setting_flags(command, invocation,
                    {"adapter", "profile", "cache-type", "kernels", "threads", "repack-cache", "ctx", "log"});
}

void add_answer_flags(CLI::App& command, Invocation& invocation) {
  add_setting_flags(
      command, invocation,
      {"temperature", "top-p", "top-k", "min-p", "repetition-penalty", "presence-penalty", "frequency-penalty"});
  add_setting_flags(command, invocation, {"seed", "max-tokens", "think", "budget", "language", "system", "speculate"});
}

int run_program(int argc, char** argv) {
  use_utf8_locale();
  ::signal(SIGXFSZ, SIG_IGN);  // a limit of a file's size is an error of write(), not the end of the process
  CLI::App app("Runs, serves and trains reasoning models.", "fathom");
  app.footer(
      "Example:  fathom run MODEL \"Why is the sky blue?\"\nMODEL is a GGUF file, a Hugging Face folder, or OWNER/NAME "
      "of an installed model.");
  app.require_subcommand(1);
  app.set_version_flag("--version", "fathom " FATHOM_VERSION);
  Invocation invocation;
  for (const auto add :
       {add_chat, add_run, add_serve, add_pull, add_list, add_rm, add_inspect, add_convert, add_quantize, add_imatrix,
        add_bench, add_tokenize, add_render, add_logits, add_train, add_report, add_config})
    add(app, invocation);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    const std::vector<CLI::App*> known = app.get_subcommands([](const CLI::App*) { return true; });
    if (argc > 1 && *argv[1] != '-' &&
        std::none_of(known.begin(), known.end(), [&](const CLI::App* c) { return c->get_name() == argv[1]; }))
      throw UsageError(cat("expected a command (fathom --help lists them), found '", argv[1], "'"));
    return app.exit(e) == 0 ? 0 : 2;
  }
  Settings settings = Settings::load(config_folder() / "config.toml");
  for (const auto& [name, value] : invocation.flags) settings.set(name, value, "--" + name);
  set_log_level(log_level(settings.text("log").value_or("warning")));
  return invocation.run(settings);
}

}  // namespace fathom
