// What the trainer's tests share: golden files and a derivative by differences. Tests only.
#pragma once
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "base/function_ref.h"
#include "formats/safetensors.h"
#include "tests/testing.h"

namespace fathom::testing {

/// The folders of golden/train that have all their files, in order of their names.
inline std::vector<std::filesystem::path> golden_train_folders() {
  std::vector<std::filesystem::path> folders;
  if (!std::filesystem::exists(golden_dir() / "train")) return folders;
  for (const auto& entry : std::filesystem::directory_iterator(golden_dir() / "train"))
    if (exists(entry.path() / "golden.safetensors") && exists(entry.path() / "model.safetensors"))
      folders.push_back(entry.path());
  std::sort(folders.begin(), folders.end());
  return folders;
}

inline std::vector<float> floats_of(const SafetensorsFile& file, const std::string& name) {
  const Tensor t = file.tensor(name);
  return {t.span<float>().begin(), t.span<float>().end()};
}

/// d f / d x by five points in steps of 1/64: exact for f32 values that are multiples of 1/64 and not large, and wrong
/// by about 1e-9 times f's fifth derivative. x is restored.
inline double five_point(float& x, FunctionRef<double()> f) {
  constexpr float kStep = 1.0F / 64;
  const float at = x;
  const auto moved = [&](float steps) {
    x = at + steps * kStep;
    return f();
  };
  const double slope = (moved(-2) - 8 * moved(-1) + 8 * moved(1) - moved(2)) / (12 * kStep);
  x = at;
  return slope;
}

}  // namespace fathom::testing
