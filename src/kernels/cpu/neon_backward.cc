#include "kernels/cpu/neon.h"
#include "kernels/cpu/neon_unpack.h"
#include "kernels/cpu/simd_backward.h"
#include "kernels/cpu/simd_neon.h"

namespace fathom::neon {

void multiply_add(float* c, size_t c_stride, const float* a, size_t a_row, size_t a_col, const float* b,
                  size_t b_stride, size_t M, size_t N, size_t K) {
  simd::Products<Simd>::multiply_add(c, c_stride, a, a_row, a_col, b, b_stride, M, N, K);
}

void linear_backward_input(float* dx, size_t dx_stride, const WeightView& w, size_t k_begin, size_t k_end,
                           const float* dy, size_t dy_stride, size_t T, float* scratch) {
  simd::Products<Simd>::linear_backward_input(dx, dx_stride, w, k_begin, k_end, dy, dy_stride, T, scratch);
}

}  // namespace fathom::neon
