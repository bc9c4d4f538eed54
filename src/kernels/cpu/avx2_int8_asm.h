// The innermost loops of linear_int8's products with many rows, their sixteen registers assigned by hand: g++ 12 spills
// them where intrinsics name them (16 to 30% of the speed). Included by avx2_int8.cc alone. Pure functions.
#pragma once
#include <immintrin.h>

#include <cstddef>
#include <cstdint>

namespace fathom::avx2 {
namespace {

#define FATHOM_YMM                                                                                                    \
  "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", \
      "xmm14", "xmm15", "memory"
// One dword of a row of activations in every dword of ymm14, times those of 16 rows of weights (ymm12, ymm13): pairs of
// products, begun in or added to two registers.
#define FATHOM_BEGIN_BYTES(x, lo, hi)     \
  "vpbroadcastd " x                       \
  ", %%ymm14\n\t"                         \
  "vpmaddubsw %%ymm14, %%ymm12, %%ymm" lo \
  "\n\t"                                  \
  "vpmaddubsw %%ymm14, %%ymm13, %%ymm" hi "\n\t"
#define FATHOM_ADD_BYTES(x, lo, hi)          \
  "vpbroadcastd " x                          \
  ", %%ymm14\n\t"                            \
  "vpmaddubsw %%ymm14, %%ymm12, %%ymm15\n\t" \
  "vpmaddubsw %%ymm14, %%ymm13, %%ymm14\n\t" \
  "vpaddw %%ymm15, %%ymm" lo ", %%ymm" lo    \
  "\n\t"                                     \
  "vpaddw %%ymm14, %%ymm" hi ", %%ymm" hi "\n\t"
#define FATHOM_BEGIN_WORDS(x, lo, hi)   \
  "vpbroadcastd " x                     \
  ", %%ymm14\n\t"                       \
  "vpmaddwd %%ymm14, %%ymm12, %%ymm" lo \
  "\n\t"                                \
  "vpmaddwd %%ymm14, %%ymm13, %%ymm" hi "\n\t"
#define FATHOM_ADD_WORDS(x, lo, hi)        \
  "vpbroadcastd " x                        \
  ", %%ymm14\n\t"                          \
  "vpmaddwd %%ymm14, %%ymm12, %%ymm15\n\t" \
  "vpmaddwd %%ymm14, %%ymm13, %%ymm14\n\t" \
  "vpaddd %%ymm15, %%ymm" lo ", %%ymm" lo  \
  "\n\t"                                   \
  "vpaddd %%ymm14, %%ymm" hi ", %%ymm" hi "\n\t"
#define FATHOM_STEP(row, step)                                                                                         \
  "vmovdqa 64*" step                                                                                                   \
  "(%[w]), %%ymm12\n\t"                                                                                                \
  "vmovdqa 64*" step "+32(%[w]), %%ymm13\n\t" row("24*" step "(%[x])", "0", "1") row("24*" step "+4(%[x])", "2", "3")  \
      row("24*" step "+8(%[x])", "4", "5") row("24*" step "+12(%[x])", "6", "7") row("24*" step "+16(%[x])", "8", "9") \
          row("24*" step "+20(%[x])", "10", "11")
// int16 pairs to int32, times the scales of ymm12 and ymm13; then kept, or added to what is there.
#define FATHOM_WIDEN                         \
  "vmovdqa (%[scale]), %%ymm12\n\t"          \
  "vmovdqa 32(%[scale]), %%ymm13\n\t"        \
  ".irp r, 0,2,4,6,8,10\n\t"                 \
  "vpmaddwd %%ymm12, %%ymm\\r, %%ymm\\r\n\t" \
  ".endr\n\t"                                \
  ".irp r, 1,3,5,7,9,11\n\t"                 \
  "vpmaddwd %%ymm13, %%ymm\\r, %%ymm\\r\n\t" \
  ".endr\n\t"
#define FATHOM_KEEP                       \
  ".irp r, 0,1,2,3,4,5,6,7,8,9,10,11\n\t" \
  "vmovdqa %%ymm\\r, 32*\\r(%[sums])\n\t" \
  ".endr"
#define FATHOM_ADD                                 \
  ".irp r, 0,1,2,3,4,5,6,7,8,9,10,11\n\t"          \
  "vpaddd 32*\\r(%[sums]), %%ymm\\r, %%ymm\\r\n\t" \
  "vmovdqa %%ymm\\r, 32*\\r(%[sums])\n\t"          \
  ".endr"

/// sums[t][lane] = or += scale[lane] * the sum over 4 * steps values of w x: 16 rows of unsigned bytes w
/// [steps][16][4], x [steps][6][4]; scale: 16 times two equal int16. Pair sums stay in int16: the caller knows that
/// `steps` of them fit.
template <int steps, bool add>
[[gnu::always_inline]] inline void multiply_six(int32_t (&sums)[6][16], const uint8_t* w, const int8_t* x,
                                                const void* scale) {
  static_assert(steps == 2 || steps == 4 || steps == 8);
#define FATHOM_MULTIPLY(more, end)                                                         \
  asm volatile(FATHOM_STEP(FATHOM_BEGIN_BYTES, "0") ".irp step, " more "\n\t" FATHOM_STEP( \
                   FATHOM_ADD_BYTES, "\\step") ".endr\n\t" FATHOM_WIDEN end                \
               :                                                                           \
               : [w] "r"(w), [x] "r"(x), [scale] "r"(scale), [sums] "r"(sums)              \
               : FATHOM_YMM)
  if constexpr (steps == 8 && add) FATHOM_MULTIPLY("1,2,3,4,5,6,7", FATHOM_ADD);
  if constexpr (steps == 8 && !add) FATHOM_MULTIPLY("1,2,3,4,5,6,7", FATHOM_KEEP);
  if constexpr (steps == 4 && add) FATHOM_MULTIPLY("1,2,3", FATHOM_ADD);
  if constexpr (steps == 4 && !add) FATHOM_MULTIPLY("1,2,3", FATHOM_KEEP);
  if constexpr (steps == 2 && add) FATHOM_MULTIPLY("1", FATHOM_ADD);
  if constexpr (steps == 2 && !add) FATHOM_MULTIPLY("1", FATHOM_KEEP);
#undef FATHOM_MULTIPLY
}

/// sums[t][lane] = the sum over 2 * steps numbers of w x: int16 w [steps][16][2] and x [steps][6][2].
template <int steps>
[[gnu::always_inline]] inline void multiply_six_words(int32_t (&sums)[6][16], const int16_t* w, const int16_t* x) {
  static_assert(steps == 4 || steps == 8);
#define FATHOM_MULTIPLY(more)                                                              \
  asm volatile(FATHOM_STEP(FATHOM_BEGIN_WORDS, "0") ".irp step, " more "\n\t" FATHOM_STEP( \
                   FATHOM_ADD_WORDS, "\\step") ".endr\n\t" FATHOM_KEEP                     \
               :                                                                           \
               : [w] "r"(w), [x] "r"(x), [sums] "r"(sums)                                  \
               : FATHOM_YMM)
  if constexpr (steps == 4) FATHOM_MULTIPLY("1,2,3");
  if constexpr (steps == 8) FATHOM_MULTIPLY("1,2,3,4,5,6,7");
#undef FATHOM_MULTIPLY
}

// Weights of the whole signed range as |w| (ymm7) and the bits of x to be inverted (ymm6); widened and scaled by ymm8.
// Begins a sum of int32, or adds to it.
#define FATHOM_INVERTED_PRODUCTS(x)  \
  "vpbroadcastd " x                  \
  ", %%ymm9\n\t"                     \
  "vpxor %%ymm6, %%ymm9, %%ymm9\n\t" \
  "vpmaddubsw %%ymm9, %%ymm7, %%ymm9\n\t"
#define FATHOM_BEGIN_INVERTED(x, sum) FATHOM_INVERTED_PRODUCTS(x) "vpmaddwd %%ymm8, %%ymm9, %%ymm" sum "\n\t"
#define FATHOM_ADD_INVERTED(x, sum)     \
  FATHOM_INVERTED_PRODUCTS(x)           \
  "vpmaddwd %%ymm8, %%ymm9, %%ymm9\n\t" \
  "vpaddd %%ymm9, %%ymm" sum ", %%ymm" sum "\n\t"
#define FATHOM_INVERTED_STEP(row, step)                                                                        \
  "vmovdqa 64*" step                                                                                           \
  "(%[w]), %%ymm7\n\t"                                                                                         \
  "vmovdqa 64*" step "(%[negative]), %%ymm6\n\t" row("24*" step "(%[x])", "0") row("24*" step "+4(%[x])", "1") \
      row("24*" step "+8(%[x])", "2") row("24*" step "+12(%[x])", "3") row("24*" step "+16(%[x])", "4")        \
          row("24*" step "+20(%[x])", "5")

/// The same as multiply_six over 32 values for |w| and x, or -x - 1 where w is negative (all bits of `negative` set):
/// w x = |w| (-x - 1) + |w| there, and the caller adds these |w|. Instead of giving x the sign of w this leaves the
/// units that multiply to products. Eight rows of weights at a time, so that all but x stays in registers.
template <bool add>
[[gnu::always_inline]] inline void multiply_six_inverted(int32_t (&sums)[6][16], const uint8_t* w,
                                                         const uint8_t* negative, const int8_t* x, const void* scale) {
#define FATHOM_MULTIPLY(end)                                                                                        \
  asm volatile(                                                                                                     \
      "vmovdqa (%[scale]), %%ymm8\n\t" FATHOM_INVERTED_STEP(                                                        \
          FATHOM_BEGIN_INVERTED,                                                                                    \
          "0") ".irp step, 1,2,3,4,5,6,7\n\t" FATHOM_INVERTED_STEP(FATHOM_ADD_INVERTED,                             \
                                                                   "\\step") ".endr\n\t.irp r, 0,1,2,3,4,5\n\t" end \
                                                                             "vmovdqa %%ymm\\r, "                   \
                                                                             "64*\\r(%[sums])\n\t.endr"             \
      :                                                                                                             \
      : [w] "r"(w + 4 * half), [negative] "r"(negative + 4 * half), [x] "r"(x),                                     \
        [scale] "r"(static_cast<const char*>(scale) + 4 * half), [sums] "r"(&sums[0][half])                         \
      : FATHOM_YMM)
  for (size_t half = 0; half < 16; half += 8) {
    if constexpr (add)
      FATHOM_MULTIPLY("vpaddd 64*\\r(%[sums]), %%ymm\\r, %%ymm\\r\n\t");
    else
      FATHOM_MULTIPLY("");
  }
#undef FATHOM_MULTIPLY
}

#undef FATHOM_YMM
#undef FATHOM_BEGIN_BYTES
#undef FATHOM_ADD_BYTES
#undef FATHOM_BEGIN_WORDS
#undef FATHOM_ADD_WORDS
#undef FATHOM_STEP
#undef FATHOM_WIDEN
#undef FATHOM_KEEP
#undef FATHOM_ADD
#undef FATHOM_INVERTED_PRODUCTS
#undef FATHOM_BEGIN_INVERTED
#undef FATHOM_ADD_INVERTED
#undef FATHOM_INVERTED_STEP

}  // namespace
}  // namespace fathom::avx2
