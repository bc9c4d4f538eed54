#include "sampling/grammar/mask_cache.h"

#include "sampling/grammar/token_walk.h"

namespace fathom {
namespace {

constexpr size_t kLeastAlike = 4;  // bytes: for fewer, most of the walk has to be done anyway

constexpr size_t kEntryBytes = 64;  // of a mask's place in the table, about

void set(std::vector<uint64_t>& words, TokenId id) { words[static_cast<size_t>(id) / 64] |= uint64_t{1} << (id % 64); }

// `alike` is the mask of a state that reads the same tokens of up to `bytes` bytes; 0: nothing is known.
StateMask compute(const Automaton& automaton, const TokenTrie& trie, uint32_t state, const StateMask* alike,
                  size_t bytes, uint64_t& work) {
  StateMask mask;
  GrammarStacks stacks(automaton);
  const std::span<const TokenTrie::Node> nodes = trie.nodes();
  const auto size = static_cast<uint32_t>(nodes.size());
  const StackConfig start{state, GrammarStacks::kBottom};
  TokenWalk(stacks, trie, work).walk({&start, 1}, 0, size, bytes, [&](uint32_t node, bool ended) {
    const std::span<const TokenId> tokens = trie.tokens(node);
    mask.tokens.insert(mask.tokens.end(), tokens.begin(), tokens.end());
    if (ended && nodes[node].skip > node + 1) mask.leaving.push_back(node);
  });
  if (bytes > 0) {
    mask.words = alike->words;
    for (uint32_t node = 0; node < size;) {  // forget what the walk has looked at
      if (nodes[node].longest <= bytes) {
        node = nodes[node].skip;
        continue;
      }
      for (const TokenId id : trie.tokens(node++))
        mask.words[static_cast<size_t>(id) / 64] &= ~(uint64_t{1} << (id % 64));
    }
    for (const uint32_t node : alike->leaving)
      if (nodes[node].longest <= bytes) mask.leaving.push_back(node);
  }
  if (bytes > 0 || mask.tokens.size() * 32 > trie.vocab_size()) {  // a list would take more than the bits
    mask.words.resize((trie.vocab_size() + 63) / 64);
    for (const TokenId id : mask.tokens) set(mask.words, id);
    mask.tokens.clear();
  }
  mask.tokens.shrink_to_fit();
  mask.leaving.shrink_to_fit();
  return mask;
}

}  // namespace

void StateMask::add_to(std::vector<uint64_t>& mask) const {
  for (size_t i = 0; i < words.size(); ++i) mask[i] |= words[i];
  for (const TokenId id : tokens) set(mask, id);
}

size_t StateMask::size_bytes() const {
  return sizeof(StateMask) + kEntryBytes + words.size() * sizeof(uint64_t) + tokens.size() * sizeof(TokenId) +
         leaving.size() * sizeof(uint32_t);
}

std::shared_ptr<const StateMask> MaskCache::find(uint64_t key) const {
  const std::lock_guard lock(mutex_);
  const auto found = masks_.find(key);
  return found == masks_.end() ? nullptr : found->second;
}

std::shared_ptr<const StateMask> MaskCache::keep(uint64_t key, const std::shared_ptr<const StateMask>& mask,
                                                 size_t bytes) {
  const std::lock_guard lock(mutex_);
  if (bytes_ > kMostBytes) masks_.clear(), bytes_ = 0;
  const auto [at, added] = masks_.try_emplace(key, mask);
  if (added) bytes_ += bytes;
  return at->second;
}

std::shared_ptr<const StateMask> MaskCache::get(const Automaton& automaton, const TokenTrie& trie, uint32_t state,
                                                uint64_t& work) {
  const auto key_of = [&](uint32_t s) { return trie.id() << 32 | s; };
  if (std::shared_ptr<const StateMask> found = find(key_of(state))) return found;
  // Back along the chain, as long as the states are alike for any token; then from the first one that is not, the
  // masks of earlier ones serve for short tokens.
  const auto before = [&](uint32_t s) { return automaton.states[s].before; };
  const auto alike = [&](uint32_t s) -> size_t { return automaton.states[s].alike; };
  uint32_t same = state;
  while (before(same) != Automaton::kNone && alike(same) >= trie.longest()) same = before(same);
  if (same != state) return keep(key_of(state), get(automaton, trie, same, work), kEntryBytes);
  size_t bytes = 0;
  std::shared_ptr<const StateMask> base;
  if (before(state) != Automaton::kNone && alike(state) >= kLeastAlike) {
    bytes = alike(state);
    uint32_t first = before(state);
    while (before(first) != Automaton::kNone && alike(first) >= bytes && alike(first) < trie.longest())
      first = before(first);
    base = get(automaton, trie, first, work);
    if (base->words.empty()) bytes = 0;
  }
  const auto mask = std::make_shared<const StateMask>(compute(automaton, trie, state, base.get(), bytes, work));
  return keep(key_of(state), mask, mask->size_bytes());
}

size_t MaskCache::size_bytes() const {
  const std::lock_guard lock(mutex_);
  return bytes_;
}

}  // namespace fathom
