// linear_int8 for every processor with NEON.
#include "kernels/cpu/neon_int8.h"

#include "kernels/cpu/neon.h"

namespace fathom::neon {

void linear_int8(float* y, size_t y_stride, const WeightView& w, size_t panel_begin, size_t panel_end,
                 const QuantizedRows& x, size_t T) {
  simd::Int8Panels<Int8Kernel>::run(y, y_stride, w, panel_begin, panel_end, x, T);
}

}  // namespace fathom::neon
