// A tokenizer or a template alone, without weights: for `fathom tokenize` and `fathom render`.
#pragma once
#include <filesystem>
#include <string>

#include "text/tokenizer_spec.h"

namespace fathom {

/// From a GGUF file (also one with a vocabulary only) or a folder with tokenizer.json. Throws Error naming the path
/// where there is none.
TokenizerSpec load_tokenizer_spec(const std::filesystem::path& model);

}  // namespace fathom
