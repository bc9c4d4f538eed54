// How linears are computed (spec/numerics.md 1). Named wherever numbers are shown.
#pragma once
#include <optional>
#include <string_view>

#include "tensor/dtype.h"

namespace fathom {

enum class Profile { kExact, kInt8, kBF16 };

constexpr std::string_view name(Profile p) {
  return p == Profile::kExact ? "exact" : p == Profile::kInt8 ? "int8" : "bf16";
}
std::optional<Profile> profile_from_name(std::string_view text);

/// The form an input takes for a product: f32 rows, quantised in blocks of 32 or 256, or rounded to bf16.
enum class LinearForm { kExact, kInt8Block32, kInt8Block256, kBF16 };

/// Which form a weight of this type asks for under a profile.
LinearForm linear_form(Profile profile, DType weight);

}  // namespace fathom
