#include "base/seeded_hash.h"

#include <random>

namespace fathom {

uint64_t random_hash_seed() {
  static const uint64_t seed = [] {
    std::random_device device;
    return uint64_t{device()} << 32 | device();
  }();
  return seed;
}

}  // namespace fathom
