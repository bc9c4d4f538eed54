// Where the last tokens of a text occurred before in it, and so what may follow them: the guesses of speculation
// (engine/speculation.h). A text that quotes itself, as reasoning does, is guessed by what it said the last time. One
// thread.
#pragma once
#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "text/tokenizer_spec.h"

namespace fathom {

class MatchIndex {
 public:
  /// Tokens that are looked up, the longest first.
  static constexpr std::array<size_t, 3> kLengths = {8, 5, 3};
  /// A match is measured up to this length.
  static constexpr size_t kLongest = 32;

  /// An occurrence of the text's last tokens before its end: text()[next] came after it.
  struct Match {
    size_t next;    ///< below text().size()
    size_t length;  ///< how many of the last tokens are the same there, at most kLongest
  };

  /// The next token of the text. O(1), amortised; at most 52 bytes of memory a token, and as many while a table grows.
  void append(TokenId id);
  const std::vector<TokenId>& text() const { return text_; }

  /// For the largest n of kLengths such that the last n tokens occurred before (overlaps count): the last time that
  /// they did. nullopt: for none.
  const std::optional<Match>& match() const { return match_; }
  /// What followed there, `distance` tokens after match()->next; where that reaches the end of the text, the guess goes
  /// on from its own beginning, as a text that repeats itself with this period would.
  TokenId following(size_t distance) const;

 private:
  // The ends of the last occurrences of all runs of n tokens, by open addressing; 0: free.
  struct Table {
    size_t n = 0, used = 0;
    std::vector<uint32_t> ends;
  };
  std::span<const TokenId> run_before(size_t end, size_t n) const { return std::span(text_).subspan(end - n, n); }
  uint32_t& slot(Table& table, size_t end) const;
  size_t replace(Table& table);
  void grow(Table& table) const;
  size_t length_at(size_t end) const;

  std::vector<TokenId> text_;
  std::array<Table, kLengths.size()> tables_;
  std::optional<Match> match_;
};

}  // namespace fathom
