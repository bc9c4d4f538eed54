#include "sampling/grammar/token_walk.h"

#include <algorithm>

namespace fathom {

bool TokenWalk::general_step(const Level& above, uint8_t byte, Level& below) {
  configs_.resize(above.end);
  stacks_.cut(above.mark);
  const bool several = above.one.state == Automaton::kNone;
  const std::span<const StackConfig> from =
      several ? std::span<const StackConfig>(configs_.data() + above.begin, configs_.data() + above.end)
              : std::span<const StackConfig>(&above.one, 1);
  const bool ended = stacks_.step(from, byte, configs_);
  const size_t reached = configs_.size() - above.end;
  const StackConfig none{Automaton::kNone, GrammarStacks::kBottom};
  below = {reached == 1 ? configs_.back() : none, above.end, configs_.size(), stacks_.mark()};
  return ended;
}

void TokenWalk::walk(std::span<const StackConfig> from, uint32_t first, uint32_t last, size_t shortest,
                     FunctionRef<void(uint32_t node, bool ended)> reached) {
  if (first == last) return;
  const Automaton& a = stacks_.automaton();
  const std::span<const TokenTrie::Node> nodes = trie_.nodes();
  const uint32_t base = nodes[first].depth;
  const uint64_t work_before = stacks_.work() - work_;
  const GrammarStacks::Mark mark = stacks_.mark();
  const StackConfig none{Automaton::kNone, GrammarStacks::kBottom};
  configs_.assign(from.begin(), from.end());
  levels_.resize(trie_.longest() + 2);
  levels_[0] = {from.size() == 1 ? from[0] : none, 0, configs_.size(), mark};
  for (uint32_t node = first; node < last;) {
    const TokenTrie::Node& at = nodes[node];
    if (at.longest <= shortest) {
      node = at.skip;
      continue;
    }
    const Level& above = levels_[at.depth - base];
    Level& below = levels_[at.depth - base + 1];
    if (above.one.state != Automaton::kNone) {  // the usual case: one place, and a byte that calls and ends nothing
      const Automaton::State& state = a.states[above.one.state];
      const uint32_t next = a.next(above.one.state, at.byte);
      const auto may_call = [&](const Automaton::Call& c) { return a.rules[c.rule].first[at.byte]; };
      if (std::ranges::none_of(a.calls_of(state), may_call)) {
        if (next == Automaton::kNone) {
          node = at.skip;
          continue;
        }
        if (!a.states[next].final) {
          below = {{next, above.one.frame}, above.end, above.end, above.mark};
          reached(node++, false);
          continue;
        }
      }
    }
    const bool ended = general_step(above, at.byte, below);
    const bool alive = below.end > below.begin;
    if (alive || ended) reached(node, ended);
    node = alive ? node + 1 : at.skip;
    if (stacks_.work() - work_before > kMostWork)
      throw Error(cat("grammar: expected the next token's mask within ", kMostWork,
                      " steps, found a grammar too ambiguous for it"));
  }
  stacks_.cut(mark);
  work_ = stacks_.work() - work_before + (last - first);
}

}  // namespace fathom
