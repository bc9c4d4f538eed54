#include "kernels/cpu/neon.h"
#include "kernels/cpu/neon_unpack.h"
#include "kernels/cpu/simd_linear.h"
#include "kernels/cpu/simd_neon.h"

namespace fathom::neon {

void linear_exact(float* y, size_t y_stride, const WeightView& w, size_t panel_begin, size_t panel_end, const float* x,
                  size_t x_stride, size_t T) {
  simd::Linear<Simd>::exact(y, y_stride, w, panel_begin, panel_end, x, x_stride, T);
}

}  // namespace fathom::neon
