// Text to token ids and back: byte-level BPE with added tokens, for every tokenizer of spec/tokenizers.md.
// engine/, server/, cli/ and train/ call it; formats/ makes the TokenizerSpec. Text from a user never becomes an added
// token such as <｜User｜> unless the caller says so (law 4). A Tokenizer is const after construction and may be used
// by any number of threads.
#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "text/text_piece.h"
#include "text/tokenizer_spec.h"

namespace fathom {

class Tokenizer {
 public:
  /// Throws Error naming spec.source and what is inconsistent: lengths, ids out of range, equal tokens, a merge of
  /// unknown tokens, an unknown pre-tokenizer, a pattern that does not compile.
  explicit Tokenizer(TokenizerSpec spec);
  ~Tokenizer();
  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;

  struct EncodeOptions {
    /// Added tokens written in the text become their ids. False for text from outside.
    bool parse_special = false;
    /// Puts BOS in front and EOS behind where spec().add_bos and add_eos ask for it; a BOS that is there already is not
    /// doubled. False for rendered chat templates.
    bool add_special = false;
  };
  /// The ids of `text`. A byte that is not part of valid UTF-8 becomes the token of that byte, so that decoding gives
  /// it back (U+FFFD in the few vocabularies that have no token for 0xC0, 0xC1, 0xF5..0xFF). A byte that the
  /// vocabulary lacks (SmolLM2 has none for some control characters) is left out, as the reference tokenizers do.
  /// Throws Error if a regular expression exceeds its limits.
  std::vector<TokenId> encode(std::string_view text, EncodeOptions options) const;
  std::vector<TokenId> encode(std::string_view text) const { return encode(text, EncodeOptions{}); }

  /// The ids of the joined text; added tokens are matched only inside trusted pieces (adjacent ones count as one), and
  /// everything else is cut and merged as if the pieces were one text.
  std::vector<TokenId> encode(std::span<const TextPiece> pieces) const;

  /// A lower bound of how many ids encode() gives for the joined text, by the longest token, for a small part of its
  /// time: texts that are far too long need not be encoded to be refused.
  size_t fewest_tokens(std::span<const TextPiece> pieces) const;

  /// The text of `ids`: bytes joined, then read as UTF-8 with U+FFFD for what is invalid. `skip_special` leaves out
  /// control tokens, not user-defined ones. Throws Error for an id out of range.
  std::string decode(std::span<const TokenId> ids, bool skip_special = false) const;

  /// The bytes that `id` stands for: literal text for added tokens, nothing for unused ones. Throws Error if out of
  /// range.
  std::string token_bytes(TokenId id) const { return std::string(token_view(id)); }
  std::string_view token_view(TokenId id) const;  ///< the same, valid while the tokenizer lives

  size_t vocab_size() const { return spec_.tokens.size(); }
  /// The id of an added token by its literal text, or of a piece by its text in the vocabulary ("Ġthe").
  std::optional<TokenId> find(std::string_view token_text) const;
  TokenKind kind(TokenId id) const;  ///< Throws Error if out of range.
  bool is_end_of_generation(TokenId id) const;
  /// What the tokenizer was made of, without `merges`, which it holds in another form.
  const TokenizerSpec& spec() const { return spec_; }

 private:
  struct Parts;
  struct Range;
  std::vector<TokenId> encode_ranges(std::string_view text, std::span<const Range> ranges) const;
  void check_id(TokenId id) const;

  TokenizerSpec spec_;
  std::unique_ptr<Parts> parts_;
};

}  // namespace fathom
