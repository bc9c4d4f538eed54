#include "sampling/grammar/token_trie.h"

#include <algorithm>
#include <atomic>

#include "base/error.h"

namespace fathom {
namespace {

uint64_t next_id() {
  static std::atomic<uint64_t> last{0};
  return ++last;
}

}  // namespace

TokenTrie::TokenTrie(const Tokenizer& tokenizer) : vocab_size_(tokenizer.vocab_size()), id_(next_id()) {
  std::vector<std::string_view> tokens(vocab_size_);
  for (size_t i = 0; i < vocab_size_; ++i) {
    const auto id = static_cast<TokenId>(i);
    const TokenKind kind = tokenizer.kind(id);
    if (tokenizer.is_end_of_generation(id)) {
      end_of_generation_.push_back(id);
    } else if (kind == TokenKind::kNormal || kind == TokenKind::kUserDefined) {
      tokens[i] = tokenizer.token_view(id);
    }
  }
  build(tokens);
}

TokenTrie::TokenTrie(std::span<const std::string_view> tokens, std::span<const TokenId> end_of_generation)
    : end_of_generation_(end_of_generation.begin(), end_of_generation.end()),
      vocab_size_(tokens.size()),
      id_(next_id()) {
  for (const TokenId id : end_of_generation_)
    if (id < 0 || static_cast<size_t>(id) >= vocab_size_)
      throw Error(cat("token trie: expected ids below ", vocab_size_, ", found ", id));
  build(tokens);
}

void TokenTrie::build(std::span<const std::string_view> tokens) {
  for (TokenId id = 0; static_cast<size_t>(id) < tokens.size(); ++id)
    if (!tokens[static_cast<size_t>(id)].empty()) tokens_.push_back(id);
  const auto bytes = [&](TokenId id) { return tokens[static_cast<size_t>(id)]; };
  std::sort(tokens_.begin(), tokens_.end(), [&](TokenId a, TokenId b) {
    const int order = bytes(a).compare(bytes(b));
    return order != 0 ? order < 0 : a < b;
  });
  std::vector<uint32_t> path;  // the nodes above the next one
  const auto close_node = [&] {
    Node& node = nodes_[path.back()];
    node.skip = static_cast<uint32_t>(nodes_.size());
    node.longest = std::max(node.longest, node.depth);
    if (path.size() > 1)
      nodes_[path[path.size() - 2]].longest = std::max(nodes_[path[path.size() - 2]].longest, node.longest);
  };
  const auto close = [&](size_t depth) {
    for (; path.size() > depth; path.pop_back()) close_node();
  };
  std::string_view last;
  for (uint32_t i = 0; i < tokens_.size(); ++i) {
    const std::string_view text = bytes(tokens_[i]);
    const auto common =
        static_cast<size_t>(std::mismatch(text.begin(), text.end(), last.begin(), last.end()).first - text.begin());
    if (common == text.size() && common == last.size()) continue;  // a second token of the same bytes
    close(common);
    for (size_t depth = common; depth < text.size(); ++depth) {
      path.push_back(static_cast<uint32_t>(nodes_.size()));
      // Of the nodes that one token adds all but the last have no token: theirs begin where the last one's do.
      nodes_.push_back({0, i, static_cast<uint32_t>(depth + 1), 0, static_cast<uint8_t>(text[depth])});
    }
    last = text;
    longest_ = std::max(longest_, text.size());
  }
  close(0);
  nodes_.push_back({static_cast<uint32_t>(nodes_.size() + 1), static_cast<uint32_t>(tokens_.size()), 0, 0, 0});
}

}  // namespace fathom
