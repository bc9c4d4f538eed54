// Which tables this CPU can run, and which one is used.
#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

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

#if defined(__x86_64__)
/// Conversions between f16 and f32; compilers differ in whether __builtin_cpu_supports knows them.
bool has_f16c() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid(1, &a, &b, &c, &d) != 0 && (c & bit_F16C) != 0;
}
#endif

/// Ascending: ref first, the best last.
Usable find_usable() {
  Usable usable;
  usable.tables[usable.count++] = &ref_kernels();
#if defined(__x86_64__)
  __builtin_cpu_init();  // this may run before the constructors of libgcc
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c();
  if (avx2) usable.tables[usable.count++] = &avx2_kernels();
  const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
                      __builtin_cpu_supports("avx512vnni");
  if (avx2 && avx512) usable.tables[usable.count++] = &avx512_kernels(__builtin_cpu_supports("avx512bf16"));
#elif defined(__aarch64__)
  usable.tables[usable.count++] = &neon_kernels((getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0);
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
