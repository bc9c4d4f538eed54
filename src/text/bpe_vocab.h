// The bytes of every token in one arena, and the id of given bytes by a flat hash. text/bpe.cc and text/tokenizer.cc
// use it. Thread-safe: const after construction.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/seeded_hash.h"
#include "text/tokenizer_spec.h"

namespace fathom {

class BpeVocab {
 public:
  /// `bytes[id]` are the bytes of a token; those with `searchable[id]` are found by find(), and two of them may not be
  /// equal. Throws Error naming both ids if they are, or if the vocabulary is too large (2^32 bytes).
  BpeVocab(const std::vector<std::string>& bytes, const std::vector<bool>& searchable);

  size_t size() const { return starts_.size() - 1; }
  std::string_view bytes(TokenId id) const {
    const auto i = static_cast<size_t>(id);
    return {arena_.data() + starts_[i], starts_[i + 1] - starts_[i]};
  }
  uint64_t hash(std::string_view bytes) const { return hash_bytes(bytes.data(), bytes.size(), seed_); }
  /// The id of exactly these bytes, whose hash() is `hash`, or -1.
  TokenId find(std::string_view bytes, uint64_t hash) const;
  TokenId find(std::string_view bytes) const { return find(bytes, hash(bytes)); }

 private:
  std::string arena_;
  std::vector<uint32_t> starts_;
  std::vector<TokenId> slots_;  // open addressing, a power of two; -1: empty
  size_t longest_ = 0;          // bytes of the longest searchable token
  uint64_t seed_;
};

}  // namespace fathom
