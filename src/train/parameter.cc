#include "train/parameter.h"

namespace fathom {

bool takes_decay(std::string_view name, const Shape& shape) {
  return shape.rank() >= 2 && name.find("norm") == std::string_view::npos;
}

bool is_hidden_matrix(std::string_view name, const Shape& shape) {
  if (shape.rank() != 2) return false;
  for (const std::string_view other : {"embed_tokens", "lm_head", "mlp.gate.weight"})
    if (name.find(other) != std::string_view::npos) return false;
  return true;
}

Parameter make_parameter(std::string name, Tensor value) {
  check(value.dtype() == DType::kF32, "a master that is not f32");
  Parameter p{std::move(name), std::move(value)};
  p.decayed = takes_decay(p.name, p.value.shape());
  p.hidden_matrix = is_hidden_matrix(p.name, p.value.shape());
  return p;
}

}  // namespace fathom
