// Rotary position embedding: frequencies with their scalings, angles of a batch, and the rotation.
#pragma once
#include "ops/context.h"

namespace fathom {

/// Frequencies of a model's rotation and the factor on cos and sin.
struct RopeTable {
  Tensor inv_freq;  ///< [half] f32, computed in double with the scaling, rounded once
  float magnitude = 1;
  bool interleaved = false;
};

/// cos and sin of one forward's positions, [T, half] each; all layers share them.
struct RopeAngles {
  Tensor cos, sin;
  bool interleaved = false;
};

/// Angles float(position) * inv_freq in f32, positions [T] i32. Source: arXiv:2104.09864; spec/numerics.md 5.
RopeAngles rope_angles(Context& ctx, const Tensor& positions, const RopeTable& table);

/// x [T, heads * head_dim] -> the same with 2 * half values at `offset` of every head rotated by the row's angles:
/// x1' = x1 cos - x2 sin, x2' = x2 cos + x1 sin.
Tensor rope(Context& ctx, const Tensor& x, size_t heads, const RopeAngles& angles, size_t offset = 0);

}  // namespace fathom
