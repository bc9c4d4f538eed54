// Philox4x32-10: a counter-based generator. The same (key, counter) gives the same words on every machine.
// Source: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3" (SC 2011).
#pragma once
#include <array>
#include <cstdint>

namespace fathom {

using PhiloxCounter = std::array<uint32_t, 4>;

/// Four words for a 64-bit key and a 128-bit counter, 10 rounds.
constexpr std::array<uint32_t, 4> philox4x32(uint64_t key, PhiloxCounter c) {
  auto k0 = static_cast<uint32_t>(key), k1 = static_cast<uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t{0xD2511F53u} * c[0], p1 = uint64_t{0xCD9E8D57u} * c[2];
    c = {static_cast<uint32_t>(p1 >> 32) ^ c[1] ^ k0, static_cast<uint32_t>(p1),
         static_cast<uint32_t>(p0 >> 32) ^ c[3] ^ k1, static_cast<uint32_t>(p0)};
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return c;
}

/// spec/numerics.md 7: u in [0, 1) from the first 53 bits of words 0 and 1.
constexpr double philox_uniform(uint64_t key, PhiloxCounter counter) {
  const std::array<uint32_t, 4> w = philox4x32(key, counter);
  const uint64_t bits = uint64_t{w[0]} << 32 | w[1];
  return static_cast<double>(bits >> 11) * 0x1p-53;
}

}  // namespace fathom
