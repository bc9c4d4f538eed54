#include "base/checksum.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "base/seeded_hash.h"

namespace fathom {

uint64_t checksum(std::span<const std::byte> bytes, uint64_t seed) {
  constexpr size_t kLanes = 4;
  constexpr uint64_t kOdd = 0x9E3779B97F4A7C15u, kSecret = 0xD6E8FEB86659FD93u;
  // Four chains side by side, since one waits for its multiplication.
  std::array<uint64_t, kLanes> lane;
  for (size_t i = 0; i < kLanes; ++i) lane[i] = hash_mix(seed ^ kOdd, bytes.size() + kSecret * (i + 1));
  const auto round = [&](const std::byte* p) {
    std::array<uint64_t, 2 * kLanes> words;
    std::memcpy(words.data(), p, sizeof words);
    for (size_t i = 0; i < kLanes; ++i)
      lane[i] = hash_mix(words[2 * i] ^ lane[i], words[2 * i + 1] ^ kSecret) + (words[2 * i] ^ words[2 * i + 1] >> 1);
  };
  constexpr size_t kStep = 2 * kLanes * sizeof(uint64_t);
  size_t at = 0;
  for (; at + kStep <= bytes.size(); at += kStep) round(bytes.data() + at);
  std::array<std::byte, kStep> last{};  // the length is in the lanes, so the zeros stand for nothing
  std::copy(bytes.begin() + static_cast<std::ptrdiff_t>(at), bytes.end(), last.begin());
  round(last.data());
  uint64_t sum = kOdd;
  for (const uint64_t x : lane) sum = hash_mix(sum ^ x, kSecret ^ (x >> 32 | x << 32));
  return sum;
}

}  // namespace fathom
