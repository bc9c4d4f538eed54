// Random weights as stored blocks, made without quantising: random bits for the codes, and scales that give values of
// deviation 0.02 or so, as trained weights have. Called by synthetic.cc alone. No state: thread-safe.
#pragma once
#include <cstdint>
#include <span>

#include "tensor/dtype.h"

namespace fathom {

/// Whether random blocks of this type can be made.
bool has_random_blocks(DType type);

/// Fills whole blocks; the same bytes for the same seed.
void fill_random_blocks(DType type, std::span<std::byte> out, uint64_t seed);

}  // namespace fathom
