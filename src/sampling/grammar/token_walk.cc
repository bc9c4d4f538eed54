#include "sampling/grammar/token_walk.h"

namespace fathom {

void TokenWalk::walk(std::span<const StackConfig> from, uint32_t first, uint32_t last,
                     FunctionRef<void(uint32_t node, bool ended)> reached) {
  if (first == last) return;
  const std::span<const TokenTrie::Node> nodes = trie_.nodes();
  const uint32_t base = nodes[first].depth;
  const uint64_t work_limit = stacks_.work() + kMostWork;
  configs_.assign(from.begin(), from.end());
  levels_.assign(1, {0, configs_.size(), stacks_.mark()});  // levels_[d]: the places after d bytes
  for (uint32_t node = first; node < last;) {
    const TokenTrie::Node& at = nodes[node];
    levels_.resize(at.depth - base + 1);
    const Level above = levels_.back();
    configs_.resize(above.end);
    stacks_.cut(above.mark);
    const bool ended = stacks_.step({configs_.data() + above.begin, configs_.data() + above.end}, at.byte, configs_);
    const bool alive = configs_.size() > above.end;
    if (alive || ended) reached(node, ended);
    if (!alive) {
      node = at.skip;
      continue;
    }
    levels_.push_back({above.end, configs_.size(), stacks_.mark()});
    ++node;
    if (stacks_.work() > work_limit)
      throw Error(cat("grammar: expected the next token's mask within ", kMostWork,
                      " steps, found a grammar too ambiguous for it"));
  }
  stacks_.cut(levels_[0].mark);
}

}  // namespace fathom
