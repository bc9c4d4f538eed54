// Which tokens may come next: what a grammar hands to the sampler. One bit per token id, set = allowed.
#pragma once
#include <cstdint>
#include <span>

namespace fathom {

/// A view of ceil(V / 64) words; empty: every token is allowed.
struct TokenMask {
  std::span<const uint64_t> bits;

  bool empty() const { return bits.empty(); }
  bool allows(size_t id) const { return bits.empty() || (bits[id / 64] >> (id % 64) & 1) != 0; }
};

}  // namespace fathom
