// GGUF's tokenizer keys to a TokenizerSpec (spec/gguf.md 2.4), and what both sources of tokenizers share.
// Called by formats/gguf_checkpoint.cc and tests. No state: thread-safe.
#pragma once
#include <optional>
#include <string_view>

#include "formats/gguf.h"
#include "text/tokenizer_spec.h"

namespace fathom {

/// nullopt: the file has no tokenizer, or one of unused tokens only. Throws Error naming the key: a model other than
/// byte-level BPE, an unknown pre-tokenizer, ids outside the vocabulary, merges that are no pairs.
std::optional<TokenizerSpec> tokenizer_from_gguf(const GgufMetadata& metadata);

// The largest published vocabulary has 262,144 tokens, the largest list of merges 580,604 entries.
inline constexpr size_t kMaxTokens = size_t{1} << 20, kMaxMerges = size_t{1} << 21;

/// "left right", as both formats write merges. Throws Error naming `what` if it is not two parts.
std::pair<std::string, std::string> split_merge(std::string_view merge, std::string_view what);

/// Fills end_of_generation: `ids`, and every control token with the name of a known end token, ascending.
void set_end_of_generation(TokenizerSpec& spec, std::vector<TokenId> ids);

}  // namespace fathom
