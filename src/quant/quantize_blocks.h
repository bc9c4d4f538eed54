// The writers behind quantize(): each takes a whole run of blocks. Private to quant/; thread-safe.
#pragma once
#include <cstddef>
#include <cstdint>

namespace fathom::quant_detail {

/// out = the blocks of x[0, n). importance: null, or n weights >= 0.
using BlockWriter = void (*)(const float* x, uint8_t* out, size_t n, const float* importance);

void write_q8_0(const float* x, uint8_t* out, size_t n, const float* importance);
void write_q4_0(const float* x, uint8_t* out, size_t n, const float* importance);
void write_q4_1(const float* x, uint8_t* out, size_t n, const float* importance);
void write_q5_0(const float* x, uint8_t* out, size_t n, const float* importance);
void write_q5_1(const float* x, uint8_t* out, size_t n, const float* importance);
void write_q2_k(const float* x, uint8_t* out, size_t n, const float* importance);
void write_q3_k(const float* x, uint8_t* out, size_t n, const float* importance);
void write_q4_k(const float* x, uint8_t* out, size_t n, const float* importance);
void write_q5_k(const float* x, uint8_t* out, size_t n, const float* importance);
void write_q6_k(const float* x, uint8_t* out, size_t n, const float* importance);
void write_iq4_nl(const float* x, uint8_t* out, size_t n, const float* importance);
void write_iq4_xs(const float* x, uint8_t* out, size_t n, const float* importance);

/// floored[0, n) = max(importance, mean / 10^6), so that columns never seen still get sensible values. Returns false
/// where the mean is 0 or not finite: the caller goes on as without importance.
bool floored_importance(const float* importance, size_t n, float* floored);

}  // namespace fathom::quant_detail
