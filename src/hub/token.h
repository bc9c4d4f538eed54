// Where the token for gated and private models comes from. It is never a flag, never in a message, never in the log;
// who receives it is decided in hub/http.cc. Called by cli/pull.cc. Thread-safe as long as nobody changes the
// environment.
#pragma once
#include <filesystem>
#include <string>

namespace fathom {

struct Token {
  std::string value;   ///< empty: there is none
  std::string source;  ///< "HF_TOKEN", or the path of the file
};

/// The first of: $FATHOM_HUB_TOKEN, $HF_TOKEN, config_folder/hub-token, $HF_TOKEN_PATH, $HF_HOME/token,
/// $XDG_CACHE_HOME/huggingface/token, ~/.cache/huggingface/token. Throws Error naming the source (not the token) where
/// it holds anything but one word of printable ASCII.
Token find_token(const std::filesystem::path& config_folder);

}  // namespace fathom
