// Follows a grammar over the tokens of a trie: from a set of places, which tokens can be read. Used for the masks of
// states and by the matcher for what leaves them. One thread at a time.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "base/error.h"
#include "base/function_ref.h"
#include "sampling/grammar/grammar_stacks.h"
#include "sampling/grammar/token_trie.h"

namespace fathom {

class TokenWalk {
 public:
  /// Nodes and places that are looked at for one mask. A state that allows most tokens needs one per node of the trie.
  static constexpr uint64_t kMostWork = uint64_t{1} << 24;

  /// `work` counts, over several walks if need be.
  TokenWalk(GrammarStacks& stacks, const TokenTrie& trie, uint64_t& work)
      : stacks_(stacks), trie_(trie), work_(work) {}  // which all outlive this

  /// Visits nodes [first, last), which begin one byte behind `from` and are whole subtrees. `reached(node, ended)` is
  /// called for each node that can be read; ended: the bottom frame's rule may end with it. Subtrees of tokens of at
  /// most `shortest` bytes are passed over. The stacks are left as they were. Throws Error once `work` passes
  /// kMostWork, or as GrammarStacks::step.
  void walk(std::span<const StackConfig> from, uint32_t first, uint32_t last, size_t shortest,
            FunctionRef<void(uint32_t node, bool ended)> reached);

 private:
  // The places after so many bytes: one, or those in configs_ from `begin` to `end`; configs_ and the stacks end with
  // `end` and `mark`.
  struct Level {
    StackConfig one;  // of no state: there are several
    size_t begin, end;
    GrammarStacks::Mark mark;
  };
  bool general_step(const Level& above, uint8_t byte, Level& below);

  GrammarStacks& stacks_;
  const TokenTrie& trie_;
  uint64_t& work_;
  std::vector<StackConfig> configs_;
  std::vector<Level> levels_;
};

}  // namespace fathom
