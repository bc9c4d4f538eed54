// The router's choice for one token (spec/models.md 5, spec/numerics.md 5): plain C++, the same in every table.
#pragma once
#include "kernels/backend.h"

namespace fathom {

/// Floats of scratch for route_token.
size_t route_scratch(const RouterConfig& config);

/// logits [E], bias [E] or null; ids and gates [top_k], ids ascending. Ties go to the lower id.
void route_token(const Kernels& k, const RouterConfig& config, const float* logits, const float* bias, int32_t* ids,
                 float* gates, float* scratch);

}  // namespace fathom
