#include <CLI/CLI.hpp>

#include "cli/commands.h"

namespace fathom {

void add_convert(CLI::App&, Invocation&) {}

}  // namespace fathom
