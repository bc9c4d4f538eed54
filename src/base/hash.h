// BLAKE2b-256: the hash behind weights id, numerics id, prefix keys and API keys (spec/numerics.md 9). Over libsodium.
// One thread at a time per object.
#pragma once
#include <sodium/crypto_generichash.h>

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace fathom {

class Blake2b256 {
 public:
  using Digest = std::array<uint8_t, 32>;

  Blake2b256();
  /// Appends to the message; many calls equal one call with all bytes.
  void update(std::span<const uint8_t> bytes);
  void update(std::string_view bytes);
  /// The hash of the message so far; more may be appended afterwards.
  Digest digest() const;
  /// digest() as 64 lower-case hex digits.
  std::string hex() const;

 private:
  crypto_generichash_state state_;
};

}  // namespace fathom
