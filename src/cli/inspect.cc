#include <CLI/CLI.hpp>

#include "cli/commands.h"

namespace fathom {

void add_inspect(CLI::App&, Invocation&) {}

}  // namespace fathom
