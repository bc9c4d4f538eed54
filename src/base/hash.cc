#include "base/hash.h"

#include <sodium/core.h>

#include "base/error.h"

namespace fathom {

Blake2b256::Blake2b256() {
  check(sodium_init() >= 0, "libsodium did not start");
  check(crypto_generichash_init(&state_, nullptr, 0, sizeof(Digest)) == 0, "BLAKE2b did not start");
}

void Blake2b256::update(std::span<const uint8_t> bytes) {
  check(crypto_generichash_update(&state_, bytes.data(), bytes.size()) == 0, "BLAKE2b refused data");
}

void Blake2b256::update(std::string_view bytes) {
  update(std::span(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()));
}

Blake2b256::Digest Blake2b256::digest() const {
  crypto_generichash_state last = state_;  // finishing uses a state up
  Digest out;
  check(crypto_generichash_final(&last, out.data(), out.size()) == 0, "BLAKE2b did not finish");
  return out;
}

std::string Blake2b256::hex() const {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string out;
  for (const uint8_t byte : digest()) out += {kDigits[byte >> 4], kDigits[byte & 15]};
  return out;
}

}  // namespace fathom
