// tokenizer.json and the files around it for a model that comes from a GGUF file: those that its fathom.hf.* keys keep,
// with vocabulary and merges put back, else made from tokenizer.ggml.*. Called by convert_to_hf.cc.
// No state: thread-safe.
#pragma once
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "formats/gguf.h"
#include "text/tokenizer_spec.h"

namespace fathom {

/// Names (below the folder) and texts of the files. `spec`: what tokenizer_from_gguf gives for the metadata. None where
/// the file has no tokenizer, or placeholders only, with a note. context_length: model_max_length of a
/// tokenizer_config.json that is made here.
std::vector<std::pair<std::string, std::string>> hf_tokenizer_files(const GgufMetadata& metadata,
                                                                    const std::optional<TokenizerSpec>& spec,
                                                                    size_t context_length,
                                                                    std::vector<std::string>& notes);

/// Notes on where the tokenizer of `folder`, if it has one, encodes other than `want`: the parts that differ.
std::vector<std::string> compare_tokenizers(const std::filesystem::path& folder, const TokenizerSpec& want);

}  // namespace fathom
