// A grammar upon an answer: which tokens may come next, once the thinking is over. The thinking itself stays free, but
// the answer cannot end in it. One per answer, on the compute thread.
#pragma once
#include <optional>
#include <vector>

#include "engine/engine.h"
#include "sampling/grammar/grammar_matcher.h"
#include "sampling/grammar/token_trie.h"

namespace fathom {

class Constraint {
 public:
  /// `may_think`: the prompt leaves it to the model whether it thinks first.
  Constraint(const Engine& engine, Grammar grammar, bool may_think);

  /// The tokens that may come next. Throws Error if the grammar allows none of the vocabulary's.
  TokenMask mask(bool thinking);
  /// A token of the answer was drawn or forced. `thinking`: before it, and after it.
  void accept(TokenId id, bool thinking_before, bool thinking_after);
  /// Nothing may follow any more.
  bool complete() const { return matcher_.must_finish(); }

 private:
  const Engine& engine_;
  GrammarMatcher matcher_;
  bool may_think_, begun_ = false;
  std::vector<uint64_t> words_;
  std::vector<uint64_t> free_;  // while it thinks: all but what ends the answer; empty: not asked for so far
};

}  // namespace fathom
