#include <CLI/CLI.hpp>

#include "cli/commands.h"

namespace fathom {

void add_imatrix(CLI::App&, Invocation&) {}

}  // namespace fathom
