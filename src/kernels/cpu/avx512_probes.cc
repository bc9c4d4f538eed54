// Probe loops for AVX-512 with VNNI and BF16 (kernels/probe_loops.h). In assembly, so that what is counted is what
// runs.
#include "kernels/probe_tables.h"

namespace fathom {
namespace {

void read(const std::byte* data, size_t n) {
  if (n == 0) return;
  const std::byte* end = data + n;
  asm volatile(
      "1:\n\t"
      "vmovdqu64 (%0), %%zmm0\n\t vmovdqu64 64(%0), %%zmm1\n\t vmovdqu64 128(%0), %%zmm2\n\t"
      "vmovdqu64 192(%0), %%zmm3\n\t vmovdqu64 256(%0), %%zmm4\n\t vmovdqu64 320(%0), %%zmm5\n\t"
      "vmovdqu64 384(%0), %%zmm6\n\t vmovdqu64 448(%0), %%zmm7\n\t"
      "add $512, %0\n\t"
      "cmp %1, %0\n\t"
      "jb 1b\n\t"
      "vzeroupper"
      : "+r"(data)
      : "r"(end)
      : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "cc", "memory");
}

// Twelve chains of one instruction hide a latency of 4 or 5 clocks on two pipes.
#define FATHOM_TWELVE_CHAINS(name, instruction)                                                                      \
  void name(size_t rounds) {                                                                                         \
    if (rounds == 0) return;                                                                                         \
    asm volatile("vzeroall\n 1:\n .irp r, 0,1,2,3,4,5,6,7,8,9,10,11\n " instruction                                  \
                 " %%zmm12, %%zmm13, %%zmm\\r\n .endr\n dec %0\n jnz 1b\n vzeroupper"                                \
                 : "+r"(rounds)                                                                                      \
                 :                                                                                                   \
                 : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", \
                   "xmm12", "xmm13", "xmm14", "xmm15", "cc");                                                        \
  }
FATHOM_TWELVE_CHAINS(f32, "vfmadd231ps")
FATHOM_TWELVE_CHAINS(int8, "vpdpbusd")
FATHOM_TWELVE_CHAINS(bf16, "vdpbf16ps")
#undef FATHOM_TWELVE_CHAINS

}  // namespace

ProbeLoops avx512_probe_loops() {
  return {
      .read = read, .f32 = {f32, 12 * 16 * 2}, .int8 = {int8, 12 * 64 * 2}, .bf16 = {bf16, 12 * 32 * 2}, .nops = {}};
}

}  // namespace fathom
