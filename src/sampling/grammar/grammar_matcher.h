// Where one sequence stands in its grammar: the engine owns one matcher per constrained sequence, asks for the mask of
// the next token, and tells the bytes of the token that was drawn. It works on bytes, so a token may end inside a
// character. A matcher is a value: a copy costs about as much as the nesting is deep, and a speculated run is tried on
// a copy. One thread at a time per matcher; matchers of one grammar are independent.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "sampling/grammar/grammar.h"
#include "sampling/grammar/grammar_stacks.h"
#include "sampling/grammar/token_trie.h"
#include "sampling/token_mask.h"

namespace fathom {

class GrammarMatcher {
 public:
  explicit GrammarMatcher(Grammar grammar);

  /// Goes on over `bytes`. False: the grammar does not allow them here, and nothing has changed.
  /// Throws Error, with nothing changed, if the grammar is too ambiguous (GrammarStacks::kMostConfigs).
  bool accept(std::string_view bytes);

  /// The tokens that may come next: a token iff accept(its bytes) would hold, one that ends generation iff
  /// may_finish(). The view is of `words`, resized to ceil(V / 64); it is all zero only where nothing may follow and
  /// the trie knows no token that ends generation, or no token's bytes fit. Throws Error as accept(), and
  /// after TokenWalk::kMostWork.
  TokenMask mask(const TokenTrie& trie, std::vector<uint64_t>& words) const;

  /// The text so far is one of the grammar's.
  bool may_finish() const { return finished_; }
  /// ... and nothing may follow it.
  bool must_finish() const { return finished_ && configs_.empty(); }

  /// The bytes that must follow, as far as there is exactly one way on and at most `limit` of them; "" where there is a
  /// choice, the end being one.
  std::string forced_bytes(size_t limit = 256) const;

  /// Frames of the pushdown that it holds now: a measure of its memory.
  size_t frames() const { return stacks_.frames(); }

 private:
  Grammar grammar_;
  GrammarStacks stacks_;
  std::vector<StackConfig> configs_;
  bool finished_;
  size_t collect_at_ = 256;  // frames
};

}  // namespace fathom
