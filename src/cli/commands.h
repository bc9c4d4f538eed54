// The subcommands: each file adds its flags to the parser and leaves what is to be run in an Invocation. cli/app.cc
// calls them. One thread.
#pragma once
#include <functional>
#include <initializer_list>
#include <string>
#include <utility>
#include <vector>

#include "cli/settings.h"

namespace CLI {  // NOLINT(readability-identifier-naming): CLI11 named it
class App;
}

namespace fathom {

/// What the command line asked for. `run` is set by the chosen subcommand's parser and returns the exit code.
struct Invocation {
  std::function<int(const Settings&)> run;
  std::vector<std::pair<std::string, std::string>> flags;  ///< settings given as flags, in order
};

/// Adds "--name" for each of these settings.
void add_setting_flags(CLI::App& command, Invocation& invocation, std::initializer_list<const char*> names);
/// Adds the flags of every command that computes: profile, cache-type, kernels, threads, ctx.
void add_engine_flags(CLI::App& command, Invocation& invocation);
/// Adds those of every command that answers: sampling, seed, max-tokens, think, budget, system.
void add_answer_flags(CLI::App& command, Invocation& invocation);

void add_chat(CLI::App& app, Invocation& invocation);
void add_run(CLI::App& app, Invocation& invocation);
void add_serve(CLI::App& app, Invocation& invocation);
void add_pull(CLI::App& app, Invocation& invocation);
void add_list(CLI::App& app, Invocation& invocation);
void add_rm(CLI::App& app, Invocation& invocation);
void add_inspect(CLI::App& app, Invocation& invocation);
void add_convert(CLI::App& app, Invocation& invocation);
void add_quantize(CLI::App& app, Invocation& invocation);
void add_imatrix(CLI::App& app, Invocation& invocation);
void add_bench(CLI::App& app, Invocation& invocation);
void add_tokenize(CLI::App& app, Invocation& invocation);
void add_render(CLI::App& app, Invocation& invocation);
void add_logits(CLI::App& app, Invocation& invocation);
void add_train(CLI::App& app, Invocation& invocation);
void add_report(CLI::App& app, Invocation& invocation);
void add_config(CLI::App& app, Invocation& invocation);

/// The program: parses, loads the settings, runs. Returns the exit code; throws Error.
int run_program(int argc, char** argv);

}  // namespace fathom
