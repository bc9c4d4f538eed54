// What the other tables take from ref as it is: functions behind a call, compiled for the baseline processor, for ISA
// files may use nothing inline from outside their namespace (style.md 8). Pure functions, any thread.
#pragma once
#include <cstddef>
#include <cstdint>

#include "kernels/kernels.h"

namespace fathom::ref {

/// Natural logarithm (ref/elementary.h).
float log_f32(float x);
/// cos[i], sin[i] of position * inv_freq[i], times magnitude: once per token, so no table needs its own.
void rope_angles(float* cosines, float* sines, const float* inv_freq, size_t half, float position, float magnitude);
/// Values [k_begin, k_begin + n) of the 16 rows of panel p as f32 [n][16] (ref/linear.cc). k_begin and n are multiples
/// of the block size.
void dequantize_panel(float* out, const WeightView& w, size_t p, size_t k_begin, size_t n);
void store_kv(const KvPages& kv, size_t position, const float* k, const float* v, size_t kv_heads, size_t d);
void store_latent(const KvPages& kv, size_t position, const float* row, size_t width);
void round_bf16(uint16_t* out, const float* x, size_t n);

}  // namespace fathom::ref
