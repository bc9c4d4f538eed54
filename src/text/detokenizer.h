// Token ids to text as they come: a client never sees half a character. engine/ feeds one per answer.
// Not thread-safe; the tokenizer must outlive it.
#pragma once
#include <span>
#include <string>
#include <string_view>

#include "text/tokenizer.h"

namespace fathom {

/// What all calls return, joined with flush(), is Tokenizer::decode of all ids.
class StreamDetokenizer {
 public:
  explicit StreamDetokenizer(const Tokenizer& tokenizer, bool skip_special = false);

  /// The text that these ids complete; it ends at a character boundary. Throws Error for an id out of range, before
  /// anything of these ids is taken in.
  std::string feed(std::span<const TokenId> ids);
  std::string feed(TokenId id) { return feed({&id, 1}); }

  /// U+FFFD if the last character is incomplete, else nothing. The next feed() begins a new text.
  std::string flush();

  /// The bytes that wait for the rest of their character: at most 3.
  std::string_view pending() const { return tail_; }

 private:
  const Tokenizer& tokenizer_;
  bool skip_special_;
  std::string tail_;
};

}  // namespace fathom
