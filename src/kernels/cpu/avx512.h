// The functions of the table "avx512" that are not members of simd_*.h's templates. For avx512_*.cc alone.
#pragma once
#include "kernels/kernels.h"

namespace fathom::avx512 {

void linear_exact(float* y, size_t y_stride, const WeightView& w, size_t panel_begin, size_t panel_end, const float* x,
                  size_t x_stride, size_t T);
void linear_int8(float* y, size_t y_stride, const WeightView& w, size_t panel_begin, size_t panel_end,
                 const QuantizedRows& x, size_t T);
void fill_tiles(std::byte* tiles, const QuantizedRows& x, size_t begin, size_t end, size_t T, size_t K);
inline constexpr ActivationTiles kActivationTiles = {.rows = 8, .bytes = 3008, .least = 16, .fill = fill_tiles};
void linear_bf16(float* y, size_t y_stride, const WeightView& w, size_t panel_begin, size_t panel_end,
                 const uint16_t* x, size_t T);
void multiply_add(float* c, size_t c_stride, const float* a, size_t a_row, size_t a_col, const float* b,
                  size_t b_stride, size_t M, size_t N, size_t K);
void linear_backward_input(float* dx, size_t dx_stride, const WeightView& w, size_t k_begin, size_t k_end,
                           const float* dy, size_t dy_stride, size_t T, float* scratch);
void multiply_add_bf16(float* c, size_t c_stride, const uint32_t* a, size_t a_row, size_t a_col, const uint32_t* b,
                       size_t b_stride, size_t M, size_t N, size_t P);
void linear_backward_input_bf16(float* dx, size_t dx_stride, const WeightView& w, size_t k_begin, size_t k_end,
                                const uint32_t* dy, size_t dy_stride, size_t T, uint32_t* scratch);

}  // namespace fathom::avx512
