// What the weights of a model are stored as, in one word for people: for lists of models. Any thread.
#pragma once
#include <filesystem>
#include <string>

namespace fathom {

/// The mixture that a GGUF file says it has ("Q4_K_M"), else the type that has the most bytes ("BF16"). Reads the
/// files' headers. Throws Error where they cannot be read.
std::string weight_format(const std::filesystem::path& path);

}  // namespace fathom
