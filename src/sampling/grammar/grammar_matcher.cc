#include "sampling/grammar/grammar_matcher.h"

#include <algorithm>
#include <optional>

#include "sampling/grammar/automaton.h"
#include "sampling/grammar/mask_cache.h"
#include "sampling/grammar/token_walk.h"

namespace fathom {

Grammar::Grammar(Automaton automaton)
    : automaton_(std::make_shared<const Automaton>(std::move(automaton))), masks_(std::make_shared<MaskCache>()) {}

size_t Grammar::size_bytes() const { return automaton_->size_bytes() + masks_->size_bytes(); }

GrammarMatcher::GrammarMatcher(Grammar grammar) : grammar_(std::move(grammar)), stacks_(grammar_.automaton()) {
  const Automaton& a = grammar_.automaton();
  const Automaton::Rule& root = a.rules[a.root];
  finished_ = root.nullable;
  if (!a.states[root.start].ends) configs_.push_back({root.start, GrammarStacks::kBottom});
}

bool GrammarMatcher::accept(std::string_view bytes) {
  if (bytes.empty()) return true;
  const GrammarStacks::Mark before = stacks_.mark();
  std::vector<StackConfig> now = configs_, next;
  bool finished = finished_;
  try {
    for (const char byte : bytes) {
      next.clear();
      finished = stacks_.step(now, static_cast<uint8_t>(byte), next);
      std::swap(now, next);
      if (!finished && now.empty()) {
        stacks_.cut(before);
        return false;
      }
    }
  } catch (...) {
    stacks_.cut(before);
    throw;
  }
  configs_ = std::move(now);
  finished_ = finished;
  if (stacks_.frames() > collect_at_) {
    stacks_.collect(configs_);
    collect_at_ = 2 * stacks_.frames() + 256;
  }
  return true;
}

TokenMask GrammarMatcher::mask(const TokenTrie& trie, std::vector<uint64_t>& words) const {
  const Automaton& a = grammar_.automaton();
  words.assign((trie.vocab_size() + 63) / 64, 0);
  const auto allow = [&words](TokenId id) { words[static_cast<size_t>(id) / 64] |= uint64_t{1} << (id % 64); };
  uint64_t work = 0;
  std::optional<GrammarStacks> stacks;  // a copy to walk on, where a token may leave its rule
  std::optional<TokenWalk> walk;
  const std::span<const TokenTrie::Node> nodes = trie.nodes();
  std::vector<StackConfig> behind;
  for (const StackConfig& config : configs_) {
    const std::shared_ptr<const StateMask> state = grammar_.masks().get(a, trie, config.state, work);
    state->add_to(words);
    if (state->leaving.empty()) continue;
    work += state->leaving.size();
    if (!stacks) stacks.emplace(stacks_), walk.emplace(*stacks, trie, work);
    behind.clear();
    stacks->leave(config.frame, behind);
    std::bitset<256> first;
    for (const StackConfig& c : behind) first |= a.first_of(c.state);
    if (first.none()) continue;
    for (const uint32_t node : state->leaving)
      for (uint32_t child = node + 1; child < nodes[node].skip; child = nodes[child].skip)
        if (first[nodes[child].byte])
          walk->walk(behind, child, nodes[child].skip, 0, [&](uint32_t at, bool) {
            for (const TokenId id : trie.tokens(at)) allow(id);
          });
  }
  if (finished_)
    for (const TokenId id : trie.end_of_generation()) allow(id);
  return {words};
}

std::string GrammarMatcher::forced_bytes(size_t limit) const {
  const Automaton& a = grammar_.automaton();
  std::string forced;
  GrammarStacks stacks = stacks_;
  std::vector<StackConfig> now = configs_, next;
  bool finished = finished_;
  while (!finished && forced.size() < limit) {
    std::bitset<256> first;
    for (const StackConfig& config : now) first |= a.first_of(config.state);
    if (first.count() != 1) break;
    const size_t byte = first._Find_first();
    next.clear();
    finished = stacks.step(now, static_cast<uint8_t>(byte), next);
    std::swap(now, next);
    forced.push_back(static_cast<char>(byte));
  }
  return forced;
}

}  // namespace fathom
