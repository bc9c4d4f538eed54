#include "kernels/profile.h"

namespace fathom {

std::optional<Profile> profile_from_name(std::string_view text) {
  for (const Profile p : {Profile::kExact, Profile::kInt8, Profile::kBF16})
    if (name(p) == text) return p;
  return std::nullopt;
}

LinearForm linear_form(Profile profile, DType weight) {
  if (profile == Profile::kBF16) return LinearForm::kBF16;
  const size_t block = profile == Profile::kInt8 ? int8_block(weight) : 0;
  return block == 32 ? LinearForm::kInt8Block32 : block == 256 ? LinearForm::kInt8Block256 : LinearForm::kExact;
}

}  // namespace fathom
