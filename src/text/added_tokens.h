// Finding added tokens (<｜User｜>, <think>, ...) in text: leftmost, then longest. text/tokenizer.cc calls it.
// Thread-safe: const after construction.
#pragma once
#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "text/tokenizer_spec.h"

namespace fathom {

struct AddedToken {
  std::string text;
  TokenId id;
  /// Found in untrusted text too: a letter that stands for a byte in DeepSeek-LLM's vocabulary and controls nothing.
  bool always;
};

class AddedTokens {
 public:
  static constexpr size_t kMaxBytes = 1024;  ///< of one token, so that a search is linear

  struct Match {
    size_t begin, end;
    TokenId id;
  };

  /// Throws Error naming the token if one is empty, longer than kMaxBytes, or there twice.
  explicit AddedTokens(std::vector<AddedToken> tokens);

  /// The first match that begins in [from, to), the longest of those that begin there, or nullopt. Where `trusted`,
  /// every token that ends by `to` counts; else only those marked `always`, which may end anywhere in `text`.
  std::optional<Match> find(std::string_view text, size_t from, size_t to, bool trusted) const;

  std::optional<TokenId> id_of(std::string_view text) const;

 private:
  std::optional<Match> longest_at(std::string_view text, size_t at, size_t trusted_end) const;

  std::vector<AddedToken> tokens_;    // sorted by text
  std::array<uint8_t, 256> first_{};  // what begins with that byte: bit 0 any token, bit 1 one marked always
};

}  // namespace fathom
