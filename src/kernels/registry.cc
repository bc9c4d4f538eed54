// Which tables this CPU can run, and which one is used.
#include <array>
#include <cstdlib>
#include <string_view>

#include "base/error.h"
#include "kernels/kernels.h"

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
