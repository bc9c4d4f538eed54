// Does with a model file all that the program does with one: opens it, builds the tokenizer and the template, reads
// tensors, loads the model and computes. Called by the tests of this folder.
#pragma once
#include <filesystem>
#include <string>

namespace fathom::testing {

/// Configuration, tokenizer (built, and used both ways), template (rendered), the first tensors as f32. Throws what the
/// readers throw.
void open_fully(const std::filesystem::path& path);
/// The same, then loads the model and computes three tokens and their log-probabilities.
void open_and_compute(const std::filesystem::path& path);

}  // namespace fathom::testing
