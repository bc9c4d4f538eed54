// tokenizer.json, tokenizer_config.json and chat_template.jinja of a Hugging Face folder to a TokenizerSpec
// (spec/tokenizers.md 1). Called by formats/hf_checkpoint.cc and tests. No state: thread-safe.
#pragma once
#include <filesystem>
#include <optional>

#include "text/tokenizer_spec.h"

namespace fathom {

/// nullopt: the folder has no tokenizer. The pre-tokenizer's steps become `patterns`, and `pre` where they are those of
/// a known one. Throws Error naming file and key: a model other than byte-level BPE, normalizers, pre-tokenizers,
/// post-processors and decoders that are not built (by name), ids given twice, merges that are no pairs.
std::optional<TokenizerSpec> tokenizer_from_folder(const std::filesystem::path& folder);

}  // namespace fathom
