// fathom pull: a model from the hub into the models folder.
#include "hub/pull.h"

#include <CLI/CLI.hpp>

#include "base/error.h"
#include "base/work.h"
#include "cli/commands.h"
#include "cli/folders.h"
#include "cli/hub_options.h"
#include "cli/interrupt.h"
#include "cli/output.h"
#include "cli/pull_progress.h"
#include "cli/sanitize.h"

namespace fathom {
namespace {

struct PullFlags {
  std::string model, revision = "main";
  size_t connections = 4;
  int retries = 5, timeout_s = 60;
  bool all = false, json = false;
};

json::object result_json(const PullResult& result, const std::vector<std::string>& notices) {
  json::array files;
  for (const std::string& path : result.chosen) {
    const PulledFile* file = result.record.find(path);
    files.push_back({{"path", path}, {"size", file->size}, {"sha256", file->sha256}});
  }
  return {{"format", "fathom.pulled"},
          {"version", 1},
          {"endpoint", result.record.endpoint},
          {"repository", result.record.repository},
          {"revision", result.record.revision},
          {"commit", result.record.commit},
          {"folder", result.folder.string()},
          {"files", std::move(files)},
          {"bytes", result.chosen_bytes},
          {"received_bytes", result.received_bytes},
          {"notes", json::array(notices.begin(), notices.end())}};
}

std::string result_text(const PullResult& result) {
  const size_t count = result.chosen.size();
  return cat(result.record.repository, ": ", count, count == 1 ? " file, " : " files, ", size_text(result.chosen_bytes),
             result.received_bytes ? "" : ", all of them here already", ", in ", result.folder.string(), " (",
             result.record.revision, ", commit ", result.record.commit.substr(0, 12), ")\n");
}

int run_pull(const PullFlags& flags, const Settings& settings) {
  const HubName name = parse_hub_name(flags.model);
  if (flags.all && !name.file.empty())
    throw UsageError(cat("--all: expected OWNER/NAME without :FILE, found '", flags.model, "'"));
  catch_interrupts(/*impatient=*/true);
  PullProgress progress(cat("pulling ", name.repository()), terminal_of(2));
  PullOptions options = hub_options(settings);
  options.revision = flags.revision;
  options.all = flags.all;
  options.timeout_s = flags.timeout_s;
  options.download.connections = flags.connections;
  options.download.retries = flags.retries;
  options.download.notice = [&progress](const std::string& text) { progress.notice(text); };
  options.download.progress = [&progress](uint64_t done, uint64_t total) {
    if (interrupted().exchange(false)) throw Interrupted();
    progress.show(done, total);
  };
  const PullResult result = pull(models_folder(), name, options);
  progress.clear();
  print_out(flags.json ? to_json(result_json(result, progress.notices()), {.indent = 2}) + "\n"
                       : sanitized(result_text(result)));
  return 0;
}

}  // namespace

void add_pull(CLI::App& app, Invocation& invocation) {
  CLI::App* command =
      app.add_subcommand("pull", "Fetches a model from the hub; goes on where an earlier pull stopped.");
  const auto flags = std::make_shared<PullFlags>();
  command
      ->add_option("MODEL", flags->model,
                   "OWNER/NAME, or OWNER/NAME:FILE for one file: a path, or a quantisation's name (Q4_K_M)")
      ->required();
  command->add_option("--revision", flags->revision, "branch, tag or commit")->capture_default_str();
  command->add_option("--connections", flags->connections, "at a time")
      ->check(CLI::Range(1, 32))
      ->capture_default_str();
  command->add_option("--retries", flags->retries, "of a request in a row that bring nothing")
      ->check(CLI::Range(0, 100))
      ->capture_default_str();
  command->add_option("--timeout", flags->timeout_s, "seconds to connect, and of silence")
      ->check(CLI::Range(1, 3600))
      ->capture_default_str();
  command->add_flag("--all", flags->all, "every file of the repository, pickles too");
  command->add_flag("--json", flags->json, "print an object: {repository, commit, folder, files, notes, ...}");
  add_setting_flags(*command, invocation, {"endpoint", "log"});
  command->footer(
      "Example:  fathom pull deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B\n"
      "          fathom pull unsloth/Qwen3-0.6B-GGUF:Q4_K_M\n"
      "A gated model needs a token: set HF_TOKEN, or write it to the file hub-token in the config folder.");
  command->callback([&invocation, flags] {
    invocation.run = [flags](const Settings& settings) { return run_pull(*flags, settings); };
  });
}

}  // namespace fathom
