#include "text/bpe_vocab.h"

#include <algorithm>
#include <bit>
#include <limits>

#include "base/error.h"

namespace fathom {

BpeVocab::BpeVocab(const std::vector<std::string>& bytes, const std::vector<bool>& searchable)
    : seed_(random_hash_seed()) {
  check(bytes.size() == searchable.size(), "one flag per token");
  constexpr size_t kMaxTokens = size_t{1} << 28, kMaxBytes = std::numeric_limits<uint32_t>::max();
  size_t total = 0;
  for (const std::string& token : bytes) total += token.size();
  if (bytes.size() > kMaxTokens || total > kMaxBytes)
    throw Error(cat("vocabulary: expected at most ", kMaxTokens, " tokens and ", kMaxBytes, " bytes, found ",
                    bytes.size(), " and ", total));
  arena_.reserve(total);
  starts_.reserve(bytes.size() + 1);
  starts_.push_back(0);
  slots_.assign(std::bit_ceil(2 * bytes.size() + 2), -1);
  for (size_t i = 0; i < bytes.size(); ++i) {
    arena_ += bytes[i];
    starts_.push_back(static_cast<uint32_t>(arena_.size()));
    if (!searchable[i]) continue;
    longest_ = std::max(longest_, bytes[i].size());
    size_t slot = hash(bytes[i]) & (slots_.size() - 1);
    for (; slots_[slot] >= 0; slot = (slot + 1) & (slots_.size() - 1))
      if (this->bytes(slots_[slot]) == bytes[i])
        throw Error(
            cat("vocabulary: expected different tokens, found ids ", slots_[slot], " and ", i, " with the same text"));
    slots_[slot] = static_cast<TokenId>(i);
  }
}

TokenId BpeVocab::find(std::string_view wanted, uint64_t hash) const {
  if (wanted.size() > longest_) return -1;
  size_t slot = hash & (slots_.size() - 1);
  for (; slots_[slot] >= 0; slot = (slot + 1) & (slots_.size() - 1))
    if (bytes(slots_[slot]) == wanted) return slots_[slot];
  return -1;
}

}  // namespace fathom
