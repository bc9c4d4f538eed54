// For tests: random LoRA adapters of a model, in folders.
#pragma once
#include <algorithm>
#include <filesystem>
#include <random>

#include "models/adapter.h"
#include "tests/testing.h"

namespace fathom::testing {

/// Of about a third of the linears that take one.
inline void write_random_adapter(const std::filesystem::path& folder, const Model& model, uint64_t seed) {
  std::mt19937_64 random(seed);
  const auto values = [&](size_t rows, size_t columns) {
    Tensor t = make_tensor(DType::kF32, {rows, columns});
    const std::vector<float> drawn = random_floats(t.count(), random());
    for (size_t i = 0; i < drawn.size(); ++i) t.data<float>()[i] = 0.3F * drawn[i];
    return t;
  };
  PeftAdapter out;
  out.r = 2, out.lora_alpha = 3;
  for (const Weight* w : model.weights().in_order()) {
    try {
      require_adaptable(w->name());
    } catch (const Error&) {
      continue;
    }
    if (random() % 3 == 0) out.matrices.push_back({w->name(), values(out.r, w->K()), values(w->O(), out.r)});
  }
  check(!out.matrices.empty(), "an adapter of something");
  std::ranges::sort(out.matrices, {}, &PeftMatrix::weight);
  write_peft_adapter(folder, out);
}

}  // namespace fathom::testing
