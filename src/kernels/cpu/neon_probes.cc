// Probe loops for NEON (kernels/probe_loops.h). In assembly, so that what is counted is what runs.
#include "kernels/probe_tables.h"

namespace fathom {
namespace {

#define FATHOM_SUMS                                                                                                   \
  "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v8", "v9", "v10", "v11", "v12", "v13", "v14", "v15", "v16", "v17", \
      "v18", "v19", "v20", "v21", "v22", "v23"

void read(const std::byte* data, size_t n) {
  if (n == 0) return;
  const std::byte* end = data + n;
  asm volatile(
      "1:\n\t"
      "ldp q0, q1, [%0]\n\t ldp q2, q3, [%0, #32]\n\t ldp q4, q5, [%0, #64]\n\t ldp q6, q7, [%0, #96]\n\t"
      "add %0, %0, #128\n\t"
      "cmp %0, %1\n\t"
      "b.lo 1b"
      : "+r"(data)
      : "r"(end)
      : "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "cc", "memory");
}

// 24 chains hide a latency of 4 clocks on up to four pipes, 5 or 6.
#define FATHOM_ROUNDS(body)                                                                   \
  asm volatile(                                                                               \
      ".irp r, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27\n\t" \
      "movi v\\r\\().4s, #0\n\t"                                                              \
      ".endr\n\t"                                                                             \
      "1:\n\t" body                                                                           \
      "subs %0, %0, #1\n\t"                                                                   \
      "b.ne 1b"                                                                               \
      : "+r"(rounds)                                                                          \
      :                                                                                       \
      : FATHOM_SUMS, "v24", "v25", "v26", "v27", "cc")
#define FATHOM_CHAINS(instructions) \
  ".irp r, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23\n\t" instructions ".endr\n\t"

void f32(size_t rounds) {
  if (rounds != 0) FATHOM_ROUNDS(FATHOM_CHAINS("fmla v\\r\\().4s, v24.4s, v25.4s\n\t"));
}

void int8_dotprod(size_t rounds) {
  if (rounds != 0) FATHOM_ROUNDS(".arch armv8.2-a+dotprod\n\t" FATHOM_CHAINS("sdot v\\r\\().4s, v24.16b, v25.16b\n\t"));
}

/// What neon_int8.h does without sdot.
void int8_widening(size_t rounds) {
  if (rounds != 0)
    FATHOM_ROUNDS(
        FATHOM_CHAINS("smull v26.8h, v24.8b, v25.8b\n\t"
                      "smull2 v27.8h, v24.16b, v25.16b\n\t"
                      "addp v26.8h, v26.8h, v27.8h\n\t"
                      "sadalp v\\r\\().4s, v26.8h\n\t"));
}

}  // namespace

ProbeLoops neon_probe_loops(bool has_dotprod) {
  return {.read = read,
          .f32 = {f32, 24 * 4 * 2},
          .int8 = {has_dotprod ? int8_dotprod : int8_widening, 24 * 16 * 2},
          .bf16 = {},
          .nops = {}};
}

}  // namespace fathom
