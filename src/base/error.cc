#include "base/error.h"

#include <cstdio>
#include <cstdlib>

namespace fathom {

void fail(const char* why, std::source_location at) {
  std::fprintf(stderr, "fathom: internal error at %s:%u: %s\n", at.file_name(), static_cast<unsigned>(at.line()), why);
  std::fflush(stderr);
  std::abort();
}

}  // namespace fathom
