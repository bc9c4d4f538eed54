// libFuzzer's entry to the target that the build names.
#include <cstddef>
#include <cstdint>

#include "tests/fuzz/targets.h"
#include "text/unicode.h"

/// What a program computes once would be taken for a slow input.
extern "C" int LLVMFuzzerInitialize(int*, char***) {
  fathom::UnicodeClasses::get();
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fathom::fuzz::FATHOM_FUZZ_TARGET({reinterpret_cast<const char*>(data), size});
  return 0;
}
