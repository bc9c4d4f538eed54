#include "kernels/cpu/avx512.h"
#include "kernels/cpu/simd_avx512.h"
#include "kernels/cpu/simd_backward.h"
#include "kernels/cpu/simd_unpack.h"

namespace fathom::avx512 {
namespace {

/// Pairs of bf16 for vdpbf16ps (spec/numerics.md 4): two values of k are one step.
struct Bf16Pairs {
  using Value = uint32_t;
  static constexpr size_t kPerStep = 2;

  [[gnu::always_inline]] static inline __m512i broadcast(uint32_t a) { return _mm512_set1_epi32(static_cast<int>(a)); }
  [[gnu::always_inline]] static inline __m512i load(const uint32_t* b) { return _mm512_loadu_si512(b); }
  [[gnu::always_inline]] static inline __m512i load_n(const uint32_t* b, size_t n) {
    return _mm512_maskz_loadu_epi32(Simd::lanes(n), b);
  }
  [[gnu::always_inline]] static inline void store(uint32_t* b, __m512i v) { _mm512_storeu_si512(b, v); }
  [[gnu::always_inline]] static inline __m512 step(__m512 acc, __m512i a, __m512i b) {
    return _mm512_dpbf16_ps(acc, reinterpret_cast<__m512bh>(a), reinterpret_cast<__m512bh>(b));
  }
  /// Values [k, k + n) of panel p as pairs of outputs, [n][8]; beside an odd end lies 0.
  static const uint32_t* slice(uint32_t* buffer, const WeightView& w, size_t p, size_t k, size_t n) {
    alignas(64) float values[simd::kSliceValues * kPanelRows];
    const float* rows = simd::Linear<Simd>::slice(values, w, p, k, n);
    const size_t outputs = w.O - p * kPanelRows;
    const __mmask16 there = Simd::lanes(outputs < kPanelRows ? outputs : kPanelRows);
    for (size_t i = 0; i < n; ++i) {
      const __m512i bits = _mm512_maskz_mov_epi32(there, Simd::bf16_bits(Simd::load(rows + i * kPanelRows)));
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(buffer + i * (kPanelRows / 2)), _mm512_cvtepi32_epi16(bits));
    }
    return buffer;
  }
};

using Floats = simd::Products<Simd>;
using Pairs = simd::Products<Simd, Bf16Pairs>;

}  // namespace

void multiply_add(float* c, size_t c_stride, const float* a, size_t a_row, size_t a_col, const float* b,
                  size_t b_stride, size_t M, size_t N, size_t K) {
  Floats::multiply_add(c, c_stride, a, a_row, a_col, b, b_stride, M, N, K);
}

void linear_backward_input(float* dx, size_t dx_stride, const WeightView& w, size_t k_begin, size_t k_end,
                           const float* dy, size_t dy_stride, size_t T, float* scratch) {
  Floats::linear_backward_input(dx, dx_stride, w, k_begin, k_end, dy, dy_stride, T, scratch);
}

void multiply_add_bf16(float* c, size_t c_stride, const uint32_t* a, size_t a_row, size_t a_col, const uint32_t* b,
                       size_t b_stride, size_t M, size_t N, size_t P) {
  Pairs::multiply_add(c, c_stride, a, a_row, a_col, b, b_stride, M, N, P);
}

void linear_backward_input_bf16(float* dx, size_t dx_stride, const WeightView& w, size_t k_begin, size_t k_end,
                                const uint32_t* dy, size_t dy_stride, size_t T, uint32_t* scratch) {
  Pairs::linear_backward_input(dx, dx_stride, w, k_begin, k_end, dy, dy_stride, T, scratch);
}

}  // namespace fathom::avx512
