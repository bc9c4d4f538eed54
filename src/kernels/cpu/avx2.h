// The functions of the table "avx2" that are not members of simd_*.h's templates. For avx2_*.cc alone.
#pragma once
#include "kernels/kernels.h"

namespace fathom::avx2 {

void linear_exact(float* y, size_t y_stride, const WeightView& w, size_t panel_begin, size_t panel_end, const float* x,
                  size_t x_stride, size_t T);
void linear_int8(float* y, size_t y_stride, const WeightView& w, size_t panel_begin, size_t panel_end,
                 const QuantizedRows& x, size_t T);
void fill_tiles(std::byte* tiles, const QuantizedRows& x, size_t begin, size_t end, size_t T, size_t K);
inline constexpr ActivationTiles kActivationTiles = {.rows = 6, .bytes = 1920, .least = 17, .fill = fill_tiles};
void pack_rows(std::byte* out, DType type, const std::byte* rows, size_t row_bytes, size_t n, size_t blocks);
void multiply_add(float* c, size_t c_stride, const float* a, size_t a_row, size_t a_col, const float* b,
                  size_t b_stride, size_t M, size_t N, size_t K);
void linear_backward_input(float* dx, size_t dx_stride, const WeightView& w, size_t k_begin, size_t k_end,
                           const float* dy, size_t dy_stride, size_t T, float* scratch);

}  // namespace fathom::avx2
