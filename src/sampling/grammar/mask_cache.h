// What a state of a grammar allows, whatever is below it on the stack: computed once and shared by all matchers of the
// grammar. The few tokens that go on behind the end of the state's rule are left to the matcher, which knows the stack.
// The idea is XGrammar's (arXiv:2411.15100). Thread-safe.
#pragma once
#include <cstdint>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "sampling/grammar/automaton.h"
#include "sampling/grammar/token_trie.h"

namespace fathom {

/// Of one state and one trie.
struct StateMask {
  std::vector<uint64_t> words;    ///< one bit per token that is allowed; or, where they are few:
  std::vector<TokenId> tokens;    ///< the allowed ones
  std::vector<uint32_t> leaving;  ///< nodes of the trie, with nodes below, at which the rule may end

  void add_to(std::vector<uint64_t>& mask) const;
  size_t size_bytes() const;
};

class MaskCache {
 public:
  static constexpr size_t kMostBytes = size_t{16} << 20;

  /// The mask of `state`, computed now if it is not there. Past kMostBytes all is forgotten and begun again.
  /// Throws Error if the grammar is so ambiguous that TokenWalk does.
  std::shared_ptr<const StateMask> get(const Automaton& automaton, const TokenTrie& trie, uint32_t state,
                                       uint64_t& work);
  size_t size_bytes() const;

 private:
  std::shared_ptr<const StateMask> find(uint64_t key) const;
  std::shared_ptr<const StateMask> keep(uint64_t key, const std::shared_ptr<const StateMask>& mask, size_t bytes);

  mutable std::mutex mutex_;
  std::unordered_map<uint64_t, std::shared_ptr<const StateMask>> masks_;  // by trie and state
  size_t bytes_ = 0;
};

}  // namespace fathom
