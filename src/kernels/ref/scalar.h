// What the other tables take from ref as it is: functions behind a call, compiled for the baseline processor, for ISA
// files may use nothing inline from outside their namespace (style.md 8). Pure functions, any thread.
#pragma once
#include <cstddef>
#include <cstdint>

namespace fathom::ref {

/// Natural logarithm (ref/elementary.h).
float log_f32(float x);
/// cos[i], sin[i] of position * inv_freq[i], times magnitude: once per token, so no table needs its own.
void rope_angles(float* cosines, float* sines, const float* inv_freq, size_t half, float position, float magnitude);
void round_bf16(uint16_t* out, const float* x, size_t n);

}  // namespace fathom::ref
