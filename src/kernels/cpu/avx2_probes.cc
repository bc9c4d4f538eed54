// Probe loops for AVX2 and FMA (kernels/probe_loops.h). In assembly, so that what is counted is what runs.
#include "kernels/probe_tables.h"

namespace fathom {
namespace {

void read(const std::byte* data, size_t n) {
  if (n == 0) return;
  const std::byte* end = data + n;
  asm volatile(
      "1:\n\t"
      "vmovdqu (%0), %%ymm0\n\t vmovdqu 32(%0), %%ymm1\n\t vmovdqu 64(%0), %%ymm2\n\t vmovdqu 96(%0), %%ymm3\n\t"
      "vmovdqu 128(%0), %%ymm4\n\t vmovdqu 160(%0), %%ymm5\n\t vmovdqu 192(%0), %%ymm6\n\t vmovdqu 224(%0), %%ymm7\n\t"
      "add $256, %0\n\t"
      "cmp %1, %0\n\t"
      "jb 1b\n\t"
      "vzeroupper"
      : "+r"(data)
      : "r"(end)
      : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "cc", "memory");
}

/// 12 chains hide a latency of 4 or 5 clocks on two pipes.
void f32(size_t rounds) {
  if (rounds == 0) return;
  asm volatile(
      "vzeroall\n\t"
      "1:\n\t"
      ".irp r, 0,1,2,3,4,5,6,7,8,9,10,11\n\t"
      "vfmadd231ps %%ymm12, %%ymm13, %%ymm\\r\n\t"
      ".endr\n\t"
      "dec %0\n\t"
      "jnz 1b\n\t"
      "vzeroupper"
      : "+r"(rounds)
      :
      : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12",
        "xmm13", "xmm14", "xmm15", "cc");
}

/// Six sums; the products of each round are new, and wait for nothing.
void int8(size_t rounds) {
  if (rounds == 0) return;
  asm volatile(
      "vzeroall\n\t"
      "1:\n\t"
      ".irp r, 0,1,2,3,4,5\n\t"
      "vpmaddubsw %%ymm12, %%ymm13, %%ymm6\n\t"
      "vpmaddwd %%ymm14, %%ymm6, %%ymm7\n\t"
      "vpaddd %%ymm7, %%ymm\\r, %%ymm\\r\n\t"
      ".endr\n\t"
      "dec %0\n\t"
      "jnz 1b\n\t"
      "vzeroupper"
      : "+r"(rounds)
      :
      : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12",
        "xmm13", "xmm14", "xmm15", "cc");
}

}  // namespace

ProbeLoops avx2_probe_loops() {
  return {.read = read, .f32 = {f32, 12 * 8 * 2}, .int8 = {int8, 6 * 32 * 2}, .bf16 = {}, .nops = {}};
}

}  // namespace fathom
