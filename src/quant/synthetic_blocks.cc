#include "quant/synthetic_blocks.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>

#include "base/error.h"
#include "tensor/float_types.h"

namespace fathom {
namespace {

constexpr float kDeviation = 0.02F;

/// Where the f16 scale d of a block stands, and the f16 minimum that centres its values.
struct BlockScales {
  DType type;
  size_t d_offset;
  float d;
  std::optional<size_t> m_offset;
  float m;
};

// d: kDeviation over the deviation of the codes. Uniform codes of n bits have 2^n / sqrt(12); the 6-bit scales and
// minima of Q4_K and Q5_K have a mean of 31.5, the 8-bit scales of Q6_K a deviation of 74.
constexpr std::array kScales{
    BlockScales{DType::kQ8_0, 0, kDeviation / 74, std::nullopt, 0},
    BlockScales{DType::kQ4_0, 0, kDeviation / 4.6F, std::nullopt, 0},
    BlockScales{DType::kQ4_1, 0, kDeviation / 4.6F, 2, -7.5F * kDeviation / 4.6F},
    BlockScales{DType::kQ5_0, 0, kDeviation / 9.2F, std::nullopt, 0},
    BlockScales{DType::kQ5_1, 0, kDeviation / 9.2F, 2, -15.5F * kDeviation / 9.2F},
    BlockScales{DType::kQ4_K, 0, kDeviation / 4.6F / 31.5F, 2, 7.5F * kDeviation / 4.6F / 31.5F},
    BlockScales{DType::kQ5_K, 0, kDeviation / 9.2F / 31.5F, 2, 15.5F * kDeviation / 9.2F / 31.5F},
    BlockScales{DType::kQ6_K, 208, kDeviation / 18.5F / 74, std::nullopt, 0},
};

const BlockScales* scales_of(DType type) {
  for (const BlockScales& s : kScales)
    if (s.type == type) return &s;
  return nullptr;
}

bool is_plain(DType type) { return type == DType::kF32 || type == DType::kF16 || type == DType::kBF16; }

/// splitmix64.
class Bits {
 public:
  explicit Bits(uint64_t seed) : state_(seed) {}
  uint64_t next() {
    uint64_t z = state_ += 0x9E3779B97F4A7C15U;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9U;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBU;
    return z ^ (z >> 31);
  }
  /// Uniform, of deviation kDeviation.
  float value() { return (static_cast<float>(next() >> 40) * 0x1p-23F - 1) * (kDeviation * 1.732F); }

 private:
  uint64_t state_;
};

void fill_values(DType type, std::span<std::byte> out, Bits& bits) {
  const size_t size = info(type).block_bytes;
  for (size_t at = 0; at + size <= out.size(); at += size) {
    const float value = bits.value();
    const uint16_t half = type == DType::kF16 ? f16_from_f32(value) : bf16_from_f32(value);
    std::memcpy(out.data() + at, type == DType::kF32 ? static_cast<const void*>(&value) : &half, size);
  }
}

}  // namespace

bool has_random_blocks(DType type) { return is_plain(type) || scales_of(type); }

void fill_random_blocks(DType type, std::span<std::byte> out, uint64_t seed) {
  Bits bits(seed);
  if (is_plain(type)) return fill_values(type, out, bits);
  const BlockScales* scales = scales_of(type);
  check(scales != nullptr, "random blocks of this type are made here");
  for (size_t at = 0; at < out.size(); at += sizeof(uint64_t)) {
    const uint64_t word = bits.next();
    std::memcpy(out.data() + at, &word, std::min(sizeof word, out.size() - at));
  }
  const uint16_t d = f16_from_f32(scales->d), m = f16_from_f32(scales->m);
  const size_t size = info(type).block_bytes;
  for (size_t at = 0; at + size <= out.size(); at += size) {
    std::memcpy(out.data() + at + scales->d_offset, &d, sizeof d);
    if (scales->m_offset) std::memcpy(out.data() + at + *scales->m_offset, &m, sizeof m);
  }
}

}  // namespace fathom
