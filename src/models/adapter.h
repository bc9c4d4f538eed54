// From an adapter file to what a model's linears add (ops/adapter.h). Called by the engine and by trainers. No state:
// thread-safe.
#pragma once
#include <string_view>

#include "formats/peft_adapter.h"
#include "models/model.h"
#include "ops/adapter.h"

namespace fathom {

/// Packs the matrices for this model. Throws Error naming the tensor: the model has no such linear or one of another
/// shape, or none that takes an adapter (require_adaptable).
Adapter make_adapter(const PeftAdapter& adapter, const Model& model);

/// What takes an adapter: linears of the layers, but not routed experts and not kv_b_proj, which the model computes in
/// absorbed halves. Throws Error naming the weight.
void require_adaptable(std::string_view weight);

}  // namespace fathom
