// Which tables this CPU can run, and which one is used.
#include <array>
#include <cstdlib>
#include <string_view>

#include "base/error.h"
#include "kernels/kernels.h"
#include "kernels/tables.h"

namespace fathom {
namespace {

struct Usable {
  std::array<const Kernels*, 3> tables{};
  size_t count = 0;
};

/// Ascending: ref first, the best last.
Usable find_usable() {
  Usable usable;
  usable.tables[usable.count++] = &ref_kernels();
#if defined(__x86_64__)
  __builtin_cpu_init();  // this may run before the constructors of libgcc
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
  if (avx2) usable.tables[usable.count++] = &avx2_kernels();
  const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
                      __builtin_cpu_supports("avx512vnni");
  if (avx2 && avx512) usable.tables[usable.count++] = &avx512_kernels(__builtin_cpu_supports("avx512bf16"));
#endif
  return usable;
}

const Kernels& pick() {
  const std::span<const Kernels* const> usable = usable_kernels();
  const char* wanted = std::getenv("FATHOM_KERNELS");
  if (!wanted || !*wanted) return *usable.back();
  std::string names;
  for (const Kernels* table : usable) {
    if (std::string_view(table->name) == wanted) return *table;
    names += cat(names.empty() ? "" : ", ", table->name);
  }
  throw Error(
      cat("FATHOM_KERNELS: expected one of the tables that this CPU can run (", names, "), found \"", wanted, "\""));
}

}  // namespace

std::span<const Kernels* const> usable_kernels() {
  static const Usable usable = find_usable();
  return {usable.tables.data(), usable.count};
}

const Kernels& best_kernels() {
  static const Kernels& best = pick();
  return best;
}

}  // namespace fathom
