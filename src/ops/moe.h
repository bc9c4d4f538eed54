// Mixture of experts: the router's choice, the chosen experts' FFNs, and their weighted sum.
#pragma once
#include <span>

#include "ops/linear.h"

namespace fathom {

/// Router: scores over all experts from logits W x (always computed as `exact`), the top_k of them by score plus bias,
/// group-limited where n_group > 1. Ties go to the lower id. Source: arXiv:2412.19437, equations 12 to 16;
/// arXiv:2405.04434, 2.2. Training: the gradient goes through the chosen scores, none through choice and bias; loads
/// and the sequence-wise balance loss of spec/training.md 5.2 are added to ctx.training, whose kept_choices outdo the
/// router's own (spec/training.md 6).
Routing route(Context& ctx, const Tensor& x, const Weight& gate, const Tensor& e_score_correction_bias,
              const RouterConfig& config);

/// The experts of one layer, E of each.
struct Experts {
  std::span<const Weight> gate_proj, up_proj, down_proj;
};

/// y[t] = sum over the token's experts e, ascending, of gates[t, e] * down_e(silu(gate_e x) * up_e x): [T, D] -> [T,
/// D], one chain of fma from +0 (spec/numerics.md 2). Tokens are grouped by expert, which changes no bit.
Tensor experts(Context& ctx, const Tensor& x, const Routing& routing, const Experts& weights);

}  // namespace fathom
