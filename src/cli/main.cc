// The program `fathom`. Errors end here as one line on stderr and an exit code (DESIGN.md 4).
#include <cstdio>
#include <exception>
#include <new>

#include "base/error.h"
#include "cli/commands.h"
#include "cli/sanitize.h"

namespace {

int report(const char* what, int code) {
  std::fflush(stdout);
  // A message may quote a file or a model: nothing in it reaches the terminal as an escape sequence.
  std::fprintf(stderr, "fathom: %s\n", fathom::sanitized(what).c_str());
  return code;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return fathom::run_program(argc, argv);
  } catch (const fathom::Error& e) {
    return report(e.what(), e.exit_code());
  } catch (const std::bad_alloc&) {
    return report("not enough memory", 3);
  } catch (const std::exception& e) {
    return report(e.what(), 1);
  }
}
