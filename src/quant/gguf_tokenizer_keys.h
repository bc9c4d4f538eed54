// A tokenizer as GGUF's tokenizer.* keys (spec/gguf.md 2.4); formats/tokenizer_gguf.h reads them. What those keys
// cannot say and a text's ids depend on goes into fathom.tokenizer.*. Called by convert_to_gguf.cc and tests. No state:
// thread-safe.
#pragma once
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "formats/gguf_writer.h"
#include "formats/model_config.h"
#include "text/tokenizer_spec.h"

namespace fathom {

/// Writes model, pre, tokens (filled up to config.vocab_size with [PADn]), token_type, merges, special ids, add_bos and
/// add_eos, and the chat template. As the ecosystem's converter does, an added token becomes control (3) where it is
/// special or looks like one (<|...|>, <｜...｜>), else user-defined (4); the ids of those that only look so are kept
/// in fathom.tokenizer.visible_tokens. config.eos_token_ids that are no other end token become eot and eom. Throws
/// Error naming what is wrong: a pre-tokenizer without a GGUF name (a reader that guessed another would cut text
/// differently), more tokens than vocab_size.
void set_tokenizer_keys(GgufKeys& keys, const TokenizerSpec& spec, const ModelConfig& config,
                        std::vector<std::string>& notes);

/// A folder's place for chat templates beside the default one: additional_chat_templates/NAME.jinja.
inline constexpr const char* kMoreTemplates = "additional_chat_templates";

/// Whether a template of that name can stand in a key, and in a file's name: 1 to 64 letters, digits and underscores.
bool is_template_name(std::string_view name);

/// What tokenizer_config.json has beyond that: the ids of unk, sep, cls, mask and pad tokens, or config.json's, and the
/// named chat templates beside the default one, where additional_chat_templates/ has none. Other letters in their names
/// become "_", as in the ecosystem's converter. config_json: the folder's config.json.
void set_more_tokenizer_keys(GgufKeys& keys, const TokenizerSpec& spec, const std::filesystem::path& folder,
                             const JsonObject& config_json, std::vector<std::string>& notes);

/// For a folder without a tokenizer: vocab_size unused tokens [PADn], since readers want one name for each row of the
/// embedding, and the ids of config.json.
void set_placeholder_tokenizer_keys(GgufKeys& keys, const ModelConfig& config, std::vector<std::string>& notes);

}  // namespace fathom
