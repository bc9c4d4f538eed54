// Activation checkpointing: memory for time, the same bits (spec/numerics.md 8).
#pragma once
#include <functional>

#include "ops/context.h"

namespace fathom {

/// f(ctx, x), of which the tape keeps x alone; the backward computes f again with a tape of its own. f captures what
/// outlives the step. Source: arXiv:1604.06174.
using Recomputable = std::function<Tensor(Context& ctx, const Tensor& x)>;
Tensor recomputed(Context& ctx, const Tensor& x, Recomputable f);

}  // namespace fathom
