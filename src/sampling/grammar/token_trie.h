// The tokens of a vocabulary as a tree over their bytes, so that a grammar looks at a common beginning once. Made once
// per tokenizer and shared by all matchers; immutable, so any number of threads may read it.
#pragma once
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "text/tokenizer.h"

namespace fathom {

class TokenTrie {
 public:
  /// The tokens that a grammar may allow by their bytes: all but control and unused tokens and those without bytes.
  /// Tokens that end generation are allowed by its end alone.
  explicit TokenTrie(const Tokenizer& tokenizer);
  /// tokens[id] are its bytes; empty: never allowed.
  TokenTrie(std::span<const std::string_view> tokens, std::span<const TokenId> end_of_generation);

  /// The tree in preorder; the root, the empty text, is not in it.
  struct Node {
    uint32_t skip;         ///< the next node that is not below this one
    uint32_t first_token;  ///< into tokens(); the next node's is behind the last
    uint32_t depth;        ///< bytes from the root, this one included: at least 1
    uint32_t longest;      ///< the same of the longest token that it begins
    uint8_t byte;
  };
  std::span<const Node> nodes() const { return {nodes_.data(), nodes_.size() - 1}; }
  /// The tokens that end at a node.
  std::span<const TokenId> tokens(uint32_t node) const {
    return {tokens_.data() + nodes_[node].first_token, tokens_.data() + nodes_[node + 1].first_token};
  }
  std::span<const TokenId> end_of_generation() const { return end_of_generation_; }
  size_t vocab_size() const { return vocab_size_; }
  size_t longest() const { return longest_; }  ///< bytes of the longest token
  /// Differs between tries of a process; the same for copies of one.
  uint64_t id() const { return id_; }

 private:
  void build(std::span<const std::string_view> tokens);

  std::vector<Node> nodes_;  // and one behind the last
  std::vector<TokenId> tokens_, end_of_generation_;
  size_t vocab_size_, longest_ = 0;
  uint64_t id_;
};

}  // namespace fathom
