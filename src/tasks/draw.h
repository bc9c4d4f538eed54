// What the makers of examples share: random numbers by (seed, index), and the choice of the held-out problems.
#pragma once
#include <cstdint>
#include <string_view>

#include "base/philox.h"
#include "tasks/task.h"

namespace fathom {

/// Random numbers of one example; the same on every machine.
class Draw {
 public:
  Draw(uint64_t seed, uint64_t index) : seed_(seed), index_(index) {}
  /// Uniform in [low, high].
  int integer(int low, int high) {
    const auto width = static_cast<uint64_t>(high - low) + 1;
    const PhiloxCounter counter{static_cast<uint32_t>(index_), static_cast<uint32_t>(index_ >> 32), next_++, kTasks};
    return low + static_cast<int>(uint64_t{philox4x32(seed_, counter)[0]} * width >> 32);
  }

 private:
  static constexpr uint32_t kTasks = 0x7461736B;  // other uses of the same seed have another word here
  uint64_t seed_, index_;
  uint32_t next_ = 0;
};

/// The half that a problem is in, by a text that is the same for all its forms (3+5 and 5+3): one of `one_in` is held
/// out. FNV-1a, 64 bits, mixed.
constexpr Split split_of(std::string_view problem, uint64_t one_in) {
  uint64_t h = 0xCBF29CE484222325u;
  for (const char c : problem) h = (h ^ static_cast<uint8_t>(c)) * 0x100000001B3u;
  h ^= h >> 32, h *= 0xD6E8FEB86659FD93u, h ^= h >> 32;
  return h % one_in == 0 ? Split::kHeldOut : Split::kTrain;
}

}  // namespace fathom
