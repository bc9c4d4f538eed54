#include <CLI/CLI.hpp>

#include "cli/commands.h"

namespace fathom {

void add_quantize(CLI::App&, Invocation&) {}

}  // namespace fathom
