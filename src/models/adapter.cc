#include "models/adapter.h"

#include <cstring>
#include <unordered_map>

namespace fathom {
namespace {

/// B with its rows in the model's order.
Tensor rows_of_model(const ModelConfig& config, const PeftMatrix& m) {
  Tensor out = make_tensor(DType::kF32, m.b.shape());
  const size_t r = m.b.dim(1);
  for (size_t o = 0; o < m.b.dim(0); ++o)
    std::memcpy(out.data<float>() + o * r, m.b.data<float>() + hugging_face_row(config, m.weight, o) * r,
                r * sizeof(float));
  return out;
}

}  // namespace

void require_adaptable(std::string_view weight) {
  const auto refuse = [&](std::string_view why) {
    throw Error(cat("adapter of ", printable(weight), ": expected a linear that takes an adapter, found ", why));
  };
  if (!weight.starts_with("model.layers.") || weight.ends_with("head.weight") ||
      weight.ends_with("embed_tokens.weight"))
    refuse("none of the decoder layers'");
  if (weight.find(".mlp.experts.") != weight.npos) refuse("a routed expert's");
  for (const std::string_view name : {".kv_b_proj.weight", ".k_b_proj.weight", ".v_b_proj.weight"})
    if (weight.ends_with(name)) refuse("one that is computed in absorbed halves");
}

Adapter make_adapter(const PeftAdapter& adapter, const Model& model) {
  std::unordered_map<std::string_view, const Weight*> weights;
  for (const Weight* w : model.weights().in_order()) weights.emplace(w->name(), w);
  Adapter out;
  for (const PeftMatrix& m : adapter.matrices) {
    require_adaptable(m.weight);
    const auto found = weights.find(m.weight);
    if (found == weights.end())
      throw Error(cat("adapter of ", printable(m.weight), ": expected a linear of the model, found none of that name"));
    const Weight& w = *found->second;
    require_shape(cat("lora_A of ", m.weight), m.a, {adapter.r, w.K()});
    require_shape(cat("lora_B of ", m.weight), m.b, {w.O(), adapter.r});
    out.add(m.weight, {Weight(cat(m.weight, " (A)"), m.a),
                       Weight(cat(m.weight, " (B)"), rows_of_model(model.config(), m)), adapter.scale()});
  }
  return out;
}

}  // namespace fathom
