#include "kernels/probe_loops.h"

#include <cstdint>
#include <cstring>
#include <string_view>

#include "kernels/probe_tables.h"
#include "kernels/tables.h"

namespace fathom {
namespace {

void read_plain(const std::byte* data, size_t n) {
  uint64_t sums[8] = {};
  for (size_t i = 0; i < n; i += sizeof sums)
    for (size_t j = 0; j < 8; ++j) {
      uint64_t word = 0;
      std::memcpy(&word, data + i + j * sizeof word, sizeof word);
      sums[j] += word;
    }
  volatile uint64_t sink = 0;
  for (const uint64_t s : sums) sink = sink + s;
}

/// 96 in a round: the loop's own two instructions are counted too.
void run_nops(size_t rounds) {
  for (size_t i = 0; i < rounds; ++i) asm volatile(".rept 96\n nop\n .endr");
}

constexpr ProbeLoop kNops{run_nops, 98};
constexpr ProbeLoops kPlain{.read = read_plain, .nops = kNops};

#if defined(__x86_64__) || defined(__aarch64__)
ProbeLoops with_nops(ProbeLoops loops, bool has_bf16) {
  loops.nops = kNops;
  if (!has_bf16) loops.bf16 = {};
  return loops;
}
#endif

}  // namespace

/// Code for a processor is called on that processor alone, even where it only fills in a table.
const ProbeLoops& probe_loops(const Kernels& kernels) {
#if defined(__x86_64__)
  const std::string_view name = kernels.name;
  if (name == "avx2") {
    static const ProbeLoops loops = with_nops(avx2_probe_loops(), false);
    return loops;
  }
  if (name == "avx512") {
    static const ProbeLoops loops = with_nops(avx512_probe_loops(), kernels.has_bf16);
    return loops;
  }
#elif defined(__aarch64__)
  if (std::string_view(kernels.name) == "neon") {
    static const ProbeLoops loops = with_nops(neon_probe_loops(&kernels == &neon_kernels(true)), false);
    return loops;
  }
#endif
  (void)kernels;
  return kPlain;
}

}  // namespace fathom
