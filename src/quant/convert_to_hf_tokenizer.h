// tokenizer.json and the files around it for a model that comes from a GGUF file: those that its fathom.hf.* keys keep,
// with vocabulary and merges put back, else made from tokenizer.ggml.*. Called by convert_to_hf.cc.
// No state: thread-safe.
#pragma once
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "formats/checkpoint.h"
#include "formats/gguf.h"

namespace fathom {

/// Names and texts of the files. None where the file has no tokenizer, or placeholders only, with a note.
std::vector<std::pair<std::string, std::string>> hf_tokenizer_files(const GgufMetadata& metadata,
                                                                    const Checkpoint& checkpoint,
                                                                    std::vector<std::string>& notes);

/// Notes on where the tokenizer of `folder` encodes other than the checkpoint's: the parts that differ.
std::vector<std::string> compare_tokenizers(const std::filesystem::path& folder, const Checkpoint& checkpoint);

}  // namespace fathom
