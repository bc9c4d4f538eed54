// The router's choice for one token (spec/models.md 5, spec/numerics.md 5): plain C++, the same in every table.
#pragma once
#include "kernels/backend.h"
#include "kernels/cpu/number.h"

namespace fathom {

/// Numbers of scratch for route_token and its backward.
size_t route_scratch(const RouterConfig& config);

/// logits [E], bias [E] or null; ids and gates [top_k], ids ascending. Ties go to the lower id. F: float or double.
template <class F>
void route_token(const Math<F>& math, const RouterConfig& config, const F* logits, const F* bias, int32_t* ids,
                 F* gates, F* scratch);

/// The gates [top_k] that route_token gives to experts chosen elsewhere; scratch as there.
template <class F>
void gate_chosen_token(const Math<F>& math, const RouterConfig& config, const F* logits, const int32_t* ids, F* gates,
                       F* scratch);

/// dlogits += the gradient that dgates [top_k] pass on through the scores of the chosen; the choice itself and the bias
/// have none (spec/training.md 5.2).
template <class F>
void route_token_backward(const Math<F>& math, const RouterConfig& config, F* dlogits, const F* dgates, const F* logits,
                          const int32_t* ids, F* scratch);

/// The sequence-wise balance loss of T tokens, sum over e of f_e P_e, without alpha; f_e = E / (k T) times how often e
/// is among the k largest unbiased scores, P_e = the mean share of e in a token's scores. dlogits [T, E] += weight
/// times its gradient, through P alone; null: only the loss. scratch: 2 E more than route_scratch. Source:
/// arXiv:2412.19437, equations 17 to 20.
template <class F>
double sequence_balance_loss(const Math<F>& math, const RouterConfig& config, F* dlogits, const F* logits, size_t T,
                             F weight, F* scratch);

}  // namespace fathom
