// The bytes of every token in one arena, and the id of given bytes by a flat hash. text/bpe.cc and text/tokenizer.cc
// use it. Thread-safe: const after construction.
#pragma once
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "text/tokenizer_spec.h"

namespace fathom {

/// A number that differs between processes, so that no vocabulary can be made to collide in our hash tables.
uint64_t random_hash_seed();

/// Two 64-bit numbers, multiplied and folded: one round of the hashes below.
inline uint64_t hash_mix(uint64_t a, uint64_t b) {
  __extension__ using Wide = unsigned __int128;
  const Wide product = static_cast<Wide>(a) * b;
  return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
}

/// A hash of `n` bytes, fast for the few bytes of a word.
inline uint64_t hash_bytes(const char* p, size_t n, uint64_t seed) {
  constexpr uint64_t kOdd1 = 0x9E3779B97F4A7C15u, kOdd2 = 0xD6E8FEB86659FD93u;
  const auto load8 = [](const char* at) {
    uint64_t w;
    return std::memcpy(&w, at, 8), w;
  };
  const auto load4 = [](const char* at) {
    uint32_t w;
    return std::memcpy(&w, at, 4), uint64_t{w};
  };
  uint64_t h = seed ^ n;
  for (; n > 16; n -= 16, p += 16) h = hash_mix(load8(p) ^ h ^ kOdd1, load8(p + 8) ^ kOdd2);
  uint64_t a = 0, b = 0;
  if (n >= 8) {
    a = load8(p), b = load8(p + n - 8);
  } else if (n >= 4) {
    a = load4(p), b = load4(p + n - 4);
  } else if (n > 0) {
    a = uint64_t{static_cast<uint8_t>(p[0])} << 16 | uint64_t{static_cast<uint8_t>(p[n / 2])} << 8 |
        static_cast<uint8_t>(p[n - 1]);
  }
  return hash_mix(hash_mix(a ^ h ^ kOdd1, b ^ kOdd2), kOdd1 ^ seed);
}

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
