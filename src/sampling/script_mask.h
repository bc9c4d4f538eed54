// Keeps an answer to some scripts: the tokens whose letters belong to others are not drawn. What a token may do depends
// on the text alone: on the bytes before it that begin a character, if there are any. So a forbidden character cannot
// be put together from tokens of single bytes either, and no permitted one is ever kept from coming.
#pragma once
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "sampling/token_mask.h"
#include "text/script.h"
#include "text/tokenizer.h"

namespace fathom {

/// The tokens of a vocabulary that may follow a whole character. Made once per tokenizer and set of scripts; immutable,
/// so any number of threads may read it.
class ScriptMask {
 public:
  /// Control tokens always may come: they are no text. So may ids beyond the tokenizer's, up to vocab_size.
  ScriptMask(const Tokenizer& tokenizer, size_t vocab_size, ScriptSet scripts);

  ScriptSet scripts() const { return scripts_; }
  std::span<const uint64_t> bits() const { return bits_; }
  struct Continuing {
    TokenId id;
    std::string bytes;
  };
  /// The tokens whose first byte goes on with a character: they depend on what stands before them.
  const std::vector<Continuing>& continuing() const { return continuing_; }

 private:
  ScriptSet scripts_;
  std::vector<uint64_t> bits_;
  std::vector<Continuing> continuing_;
};

/// Follows one answer. One thread at a time.
class ScriptLock {
 public:
  explicit ScriptLock(std::shared_ptr<const ScriptMask> mask) : mask_(std::move(mask)) {}

  /// Of the tokens that `other` allows, those that keep to the scripts; valid until the next call. Throws Error if that
  /// leaves none: what binds the answer wants letters of another script.
  TokenMask narrowed(TokenMask other);
  /// A token has come, drawn or forced; `bytes` empty for one that is no text.
  void accept(std::string_view bytes);

 private:
  std::shared_ptr<const ScriptMask> mask_;
  std::string pending_;  // bytes of a character that is not complete
  std::vector<uint64_t> words_;
};

}  // namespace fathom
