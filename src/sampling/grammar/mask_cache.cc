#include "sampling/grammar/mask_cache.h"

#include "sampling/grammar/token_walk.h"

namespace fathom {
namespace {

StateMask compute(const Automaton& automaton, const TokenTrie& trie, uint32_t state) {
  StateMask mask;
  GrammarStacks stacks(automaton);
  const std::span<const TokenTrie::Node> nodes = trie.nodes();
  const StackConfig start{state, GrammarStacks::kBottom};
  TokenWalk(stacks, trie).walk({&start, 1}, 0, static_cast<uint32_t>(nodes.size()), [&](uint32_t node, bool ended) {
    const std::span<const TokenId> tokens = trie.tokens(node);
    mask.tokens.insert(mask.tokens.end(), tokens.begin(), tokens.end());
    if (ended && nodes[node].skip > node + 1) mask.leaving.push_back(node);
  });
  if (mask.tokens.size() * 32 > trie.vocab_size()) {  // a list would take more than the bits
    mask.words.resize((trie.vocab_size() + 63) / 64);
    for (const TokenId id : mask.tokens) mask.words[static_cast<size_t>(id) / 64] |= uint64_t{1} << (id % 64);
    mask.tokens.clear();
  }
  mask.tokens.shrink_to_fit();
  mask.leaving.shrink_to_fit();
  return mask;
}

}  // namespace

void StateMask::add_to(std::vector<uint64_t>& mask) const {
  for (size_t i = 0; i < words.size(); ++i) mask[i] |= words[i];
  for (const TokenId id : tokens) mask[static_cast<size_t>(id) / 64] |= uint64_t{1} << (id % 64);
}

size_t StateMask::size_bytes() const {
  return sizeof(StateMask) + 64 + words.size() * sizeof(uint64_t) + tokens.size() * sizeof(TokenId) +
         leaving.size() * sizeof(uint32_t);
}

std::shared_ptr<const StateMask> MaskCache::get(const Automaton& automaton, const TokenTrie& trie, uint32_t state) {
  const uint64_t key = trie.id() << 32 | state;
  {
    const std::lock_guard lock(mutex_);
    const auto found = masks_.find(key);
    if (found != masks_.end()) return found->second;
  }
  const auto mask = std::make_shared<const StateMask>(compute(automaton, trie, state));
  const std::lock_guard lock(mutex_);
  const auto [at, added] = masks_.try_emplace(key, mask);
  if (!added) return at->second;
  bytes_ += mask->size_bytes();
  if (bytes_ > kMostBytes) masks_.clear(), bytes_ = 0;
  return mask;
}

size_t MaskCache::size_bytes() const {
  const std::lock_guard lock(mutex_);
  return bytes_;
}

}  // namespace fathom
