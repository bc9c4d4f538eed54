// Hashes that outside data cannot steer: every multiplication is blinded by a number that differs between processes,
// so neither a vocabulary nor a list of tensor names can be made to collide in a table. text/ hashes tokens, formats/
// and the template interpreter names and keys. Thread-safe: no state but the seed.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <string>
#include <string_view>
#include <unordered_map>

namespace fathom {

/// A number that differs between processes.
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
  // Both factors of a product hide behind the seed: bytes equal to a known factor would make the product zero, and
  // with it forget all that came before.
  const uint64_t secret = (seed << 32 | seed >> 32) ^ kOdd2;
  const auto load8 = [](const char* at) {
    uint64_t w;
    return std::memcpy(&w, at, 8), w;
  };
  const auto load4 = [](const char* at) {
    uint32_t w;
    return std::memcpy(&w, at, 4), uint64_t{w};
  };
  uint64_t h = seed ^ n;
  for (; n > 16; n -= 16, p += 16) h = hash_mix(load8(p) ^ h ^ kOdd1, load8(p + 8) ^ secret);
  uint64_t a = 0, b = 0;
  if (n >= 8) {
    a = load8(p), b = load8(p + n - 8);
  } else if (n >= 4) {
    a = load4(p), b = load4(p + n - 4);
  } else if (n > 0) {
    a = uint64_t{static_cast<uint8_t>(p[0])} << 16 | uint64_t{static_cast<uint8_t>(p[n / 2])} << 8 |
        static_cast<uint8_t>(p[n - 1]);
  }
  return hash_mix(hash_mix(a ^ h ^ kOdd1, b ^ secret), kOdd1 ^ seed);
}

/// For the standard containers, whose own hash of strings is the same in every process and can be inverted.
struct SeededHash {
  using is_transparent = void;
  size_t operator()(std::string_view text) const { return hash_bytes(text.data(), text.size(), random_hash_seed()); }
};
/// Values by a name from outside.
template <class T>
using NameMap = std::unordered_map<std::string, T, SeededHash, std::equal_to<>>;

}  // namespace fathom
