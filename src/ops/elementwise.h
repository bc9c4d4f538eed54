// Embedding, norm, gate and residual: the small ops around the products.
#pragma once
#include "ops/context.h"

namespace fathom {

/// Rows of the table: ids [T] i32 -> [T, D] f32, the stored values as f32. Throws Error if an id is outside [0, V).
Tensor embed(Context& ctx, const Tensor& ids, const Weight& table);

/// Rows of x: y[i, :] = x[rows[i], :], rows [n] i32 -> [n, D].
Tensor take_rows(Context& ctx, const Tensor& x, const Tensor& rows);

/// Root-mean-square norm of every row of D values: y = (x * r) * weight, r = 1 / sqrt(mean(x^2) + eps).
///   x [..., D] f32, weight [D]; order of sums: spec/numerics.md 2 and 5.
/// Throws Error if x's count is not a multiple of weight's. Source: arXiv:1910.07467.
Tensor rms_norm(Context& ctx, const Tensor& x, const Tensor& weight, float eps);

/// SwiGLU's gate: y = silu(gate) * up, silu(z) = z / (1 + exp(-z)). All [T, F] f32.
/// Throws Error if shapes differ. Source: arXiv:2002.05202.
Tensor silu_mul(Context& ctx, const Tensor& gate, const Tensor& up);

/// Residual: y = a + b. Throws Error if shapes differ.
Tensor add(Context& ctx, const Tensor& a, const Tensor& b);

/// Writes columns of every row: y[t, y_column + g * y_step + i] = x[t, x_column + g * x_step + i], i < n, for each of
/// `groups` repetitions g. y's other columns come from other ops; each is written once.
struct Columns {
  size_t y_column = 0, y_step = 0, x_column = 0, x_step = 0, groups = 1, n = 0;
};
void copy_columns(Context& ctx, const Tensor& y, const Tensor& x, const Columns& c);

}  // namespace fathom
