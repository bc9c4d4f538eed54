// linear_int8 for processors with sdot (compiled for them: kernels/isa.cmake).
#include "kernels/cpu/neon.h"
#include "kernels/cpu/neon_int8.h"

namespace fathom::neon {

void linear_int8_dotprod(float* y, size_t y_stride, const WeightView& w, size_t panel_begin, size_t panel_end,
                         const QuantizedRows& x, size_t T) {
  simd::Int8Panels<Int8Kernel>::run(y, y_stride, w, panel_begin, panel_end, x, T);
}

}  // namespace fathom::neon
