// fathom rm: removes a model from this disk.
#include <CLI/CLI.hpp>
#include <iostream>

#include "base/error.h"
#include "cli/commands.h"
#include "cli/folders.h"
#include "cli/output.h"
#include "cli/sanitize.h"
#include "cli/terminal.h"
#include "engine/load_weights.h"
#include "hub/model_folder.h"

namespace fathom {
namespace {

/// What `name` stands for, for the question.
std::string description(const std::string& name) {
  std::string text;
  for (const LocalModel& model : local_models(models_folder()))
    if (model.name == name)
      text += cat(text.empty() ? "" : " and ", size_text(model.size), model.complete ? "" : " of a partial pull");
  return text;
}

bool person_agrees(const std::string& name) {
  const std::string what = description(name);
  print_err(sanitized(
      cat("remove ", name, what.empty() ? "" : cat(" (", what, ")"), " from ", models_folder().string(), "? [y/N] ")));
  const std::optional<std::string> answer = read_line(std::cin, "the answer", 1024);
  return answer && (*answer == "y" || *answer == "Y" || *answer == "yes");
}

int remove(const std::string& name, bool yes) {
  if (!yes && !terminal_of(0).is_terminal)
    throw UsageError(cat("rm ", name, ": without a terminal to ask at, --yes is needed"));
  if (!yes && !person_agrees(name)) {
    print_err("nothing was removed\n");
    return 1;
  }
  const std::filesystem::path model = std::filesystem::weakly_canonical(models_folder() / name);
  uint64_t freed = remove_model(models_folder(), name);
  freed += forget_model(model, state_folder() / "weights-ids.json", repack_folder());
  print_out(sanitized(cat("removed ", name, ", ", size_text(freed))) + "\n");
  return 0;
}

}  // namespace

void add_rm(CLI::App& app, Invocation& invocation) {
  CLI::App* command = app.add_subcommand("rm", "Removes a model, and what an unfinished pull of it left.");
  struct Flags {
    std::string model;
    bool yes = false;
  };
  const auto flags = std::make_shared<Flags>();
  command->add_option("MODEL", flags->model, "OWNER/NAME or a GGUF file of the models folder (fathom list)")
      ->required();
  command->add_flag("--yes,-y", flags->yes, "do not ask");
  command->footer("Example:  fathom rm deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B");
  command->callback(
      [&invocation, flags] { invocation.run = [flags](const Settings&) { return remove(flags->model, flags->yes); }; });
}

}  // namespace fathom
