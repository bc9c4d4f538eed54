// What is trained: f32 masters by their checkpoint names, and the rules that sort them by name: which take weight decay
// and which Muon takes. The rules live here alone. Called by optimizers and the training loop. One thread.
#pragma once
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tensor/tensor.h"

namespace fathom {

/// Tensors of a trainer's state by the names that they have in its checkpoint: handles on the live memory.
using NamedTensors = std::vector<std::pair<std::string, Tensor>>;

struct Parameter {
  std::string name;            ///< of the checkpoint: "model.layers.0.mlp.up_proj.weight"
  Tensor value;                ///< f32 master, changed in place by an optimizer
  bool decayed = false;        ///< takes weight decay
  bool hidden_matrix = false;  ///< Muon's, where Muon is used
};

/// Weight decay pulls at matrices that are no norms: at least 2 dimensions, no "norm" in the name.
bool takes_decay(std::string_view name, const Shape& shape);

/// Muon takes matrices that map hidden states to hidden states: all with 2 dimensions except embed_tokens, lm_head and
/// a router's mlp.gate.
bool is_hidden_matrix(std::string_view name, const Shape& shape);

/// A parameter with both flags by these rules. `value` must be f32.
Parameter make_parameter(std::string name, Tensor value);

}  // namespace fathom
