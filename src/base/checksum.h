// A fast checksum against damage of our own files (not against forgery: base/hash.h). About as fast as memory is read.
// Pure; any thread.
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>

namespace fathom {

/// 64 bits of `bytes` and `seed`, the same on every run; chain it by giving the last result as the next seed.
uint64_t checksum(std::span<const std::byte> bytes, uint64_t seed = 0);

}  // namespace fathom
