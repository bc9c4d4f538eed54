// The tables of single instruction sets, for registry.cc alone: calling into one on a CPU without it ends the process.
#pragma once
#include "kernels/kernels.h"

namespace fathom {

const Kernels& avx2_kernels();
/// has_bf16: whether the CPU has AVX512_BF16 too.
const Kernels& avx512_kernels(bool has_bf16);
/// has_dotprod: whether the CPU has sdot too.
const Kernels& neon_kernels(bool has_dotprod);

}  // namespace fathom
