#include <CLI/CLI.hpp>

#include "cli/commands.h"

namespace fathom {

void add_pull(CLI::App&, Invocation&) {}
void add_list(CLI::App&, Invocation&) {}
void add_rm(CLI::App&, Invocation&) {}

}  // namespace fathom
