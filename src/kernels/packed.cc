#include "kernels/packed.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "base/error.h"
#include "kernels/kernels.h"

namespace fathom {
namespace {

/// Where a block has `bits` bits of the code of value k: in byte base + k / a * b + k % c, shifted by
/// bits * (k / d % e).
struct Field {
  unsigned bits = 0, base = 0, a = 32, b = 0, c = 32, d = 32, e = 1;

  size_t byte(size_t k) const { return base + k / a * b + k % c; }
  unsigned shift(size_t k) const { return bits * static_cast<unsigned>(k / d % e); }
};

enum class Scales : uint8_t { kNone, kBytes, kScaleAndMinimum6, kSigned6, kSigned6Split };

/// A type's block (spec/gguf.md 4).
struct Form {
  size_t values = 32, sub_blocks = 0;
  int d = 0, m = -1;  // offsets; m < 0: none
  size_t d_bytes = 2;
  Scales kind = Scales::kNone;
  size_t scales = 0;  // offset
  Field codes, high;

  bool has_minima() const { return kind == Scales::kScaleAndMinimum6; }
};

constexpr Field nibbles(unsigned base) { return {4, base, 32, 16, 16, 16, 2}; }

Form form_of(DType type) {
  constexpr Field kFifthBits{1, 0, 8, 1, 1, 1, 8};
  const auto at = [](Field f, unsigned base) {
    f.base = base;
    return f;
  };
  switch (type) {
    case DType::kQ4_0:
    case DType::kIQ4_NL: return {.codes = nibbles(2)};
    case DType::kQ4_1: return {.m = 2, .codes = nibbles(4)};
    case DType::kQ5_0: return {.codes = nibbles(6), .high = at(kFifthBits, 2)};
    case DType::kQ5_1: return {.m = 2, .codes = nibbles(8), .high = at(kFifthBits, 4)};
    case DType::kQ8_0: return {.codes = {8, 2}};
    case DType::kMXFP4: return {.d_bytes = 1, .codes = nibbles(1)};
    case DType::kQ2_K:
      return {.values = 256,
              .sub_blocks = 16,
              .d = 80,
              .m = 82,
              .kind = Scales::kBytes,
              .codes = {2, 16, 128, 32, 32, 32, 4}};
    case DType::kQ3_K:
      return {.values = 256,
              .sub_blocks = 16,
              .d = 108,
              .kind = Scales::kSigned6,
              .scales = 96,
              .codes = {2, 32, 128, 32, 32, 32, 4},
              .high = {1, 0, 256, 0, 32, 32, 8}};
    case DType::kQ4_K:
      return {.values = 256,
              .sub_blocks = 8,
              .m = 2,
              .kind = Scales::kScaleAndMinimum6,
              .scales = 4,
              .codes = {4, 16, 64, 32, 32, 32, 2}};
    case DType::kQ5_K:
      return {.values = 256,
              .sub_blocks = 8,
              .m = 2,
              .kind = Scales::kScaleAndMinimum6,
              .scales = 4,
              .codes = {4, 48, 64, 32, 32, 32, 2},
              .high = {1, 16, 256, 0, 32, 32, 8}};
    case DType::kQ6_K:
      return {.values = 256,
              .sub_blocks = 16,
              .d = 208,
              .kind = Scales::kBytes,
              .scales = 192,
              .codes = {4, 0, 128, 64, 64, 64, 2},
              .high = {2, 128, 128, 32, 32, 32, 4}};
    case DType::kIQ4_XS:
      return {.values = 256, .sub_blocks = 8, .kind = Scales::kSigned6Split, .scales = 2, .codes = nibbles(8)};
    default: break;
  }
  check(false, "a type without a packed form");
  return {};
}

PackedLayout layout_of(const Form& f) {
  PackedLayout at{};
  size_t end = f.d_bytes * kPanelRows;
  const auto plane = [&](bool there, size_t bytes) {
    const size_t begin = there ? end : 0;
    end += there ? bytes : 0;
    return begin;
  };
  at.m = plane(f.m >= 0, 2 * kPanelRows);
  at.scales = plane(f.sub_blocks != 0, f.sub_blocks * kPanelRows);
  at.minima = plane(f.has_minima(), f.sub_blocks * kPanelRows);
  at.stride32 = 32 * kPanelRows * (f.codes.bits + f.high.bits) / 8;
  at.codes = plane(true, f.values / 32 * at.stride32);
  at.high = f.high.bits != 0 ? at.codes + 32 * kPanelRows * f.codes.bits / 8 : 0;
  at.bytes = end;
  return at;
}

/// A bit field of a block's scales: its low bits and where the rest is.
struct Piece {
  size_t byte;
  unsigned shift, bits;
};

unsigned get(const uint8_t* block, Piece p) { return (block[p.byte] >> p.shift) & ((1u << p.bits) - 1); }
void put(uint8_t* block, Piece p, unsigned value) {
  block[p.byte] = static_cast<uint8_t>(block[p.byte] | (value & ((1u << p.bits) - 1)) << p.shift);
}

/// Low and high bits of number i of the block's scales; Scales::kScaleAndMinimum6 has the minima from 8 on.
std::array<Piece, 2> pieces(Scales kind, size_t i) {
  const auto low = static_cast<unsigned>(i);
  switch (kind) {
    case Scales::kScaleAndMinimum6: {
      const size_t j = i % 8;
      const unsigned second = i < 8 ? 0 : 4;  // minima: bytes 4 to 7, and high nibbles
      if (j < 4) return {{{j + second, 0, 6}, {0, 0, 0}}};
      return {{{j + 4, second, 4}, {j - 4 + second, 6, 2}}};
    }
    case Scales::kSigned6: return {{{i % 8, i < 8 ? 0u : 4u, 4}, {8 + i % 4, low / 4 * 2, 2}}};
    default: return {{{2 + i / 2, low % 2 * 4, 4}, {i / 4, low % 4 * 2, 2}}};  // kSigned6Split
  }
}

void read_scales(uint8_t* out, const Form& f, const uint8_t* block) {
  const uint8_t* scales = block + f.scales;
  if (f.kind == Scales::kBytes) return void(std::memcpy(out, scales, f.sub_blocks));
  for (size_t i = 0; i < f.sub_blocks * (f.has_minima() ? 2 : 1); ++i) {
    const auto [low, high] = pieces(f.kind, i);
    const unsigned value = get(scales, low) | get(scales, high) << low.bits;
    out[i] = static_cast<uint8_t>(f.has_minima() ? value : value - 32);
  }
}

void write_scales(uint8_t* block, const Form& f, const uint8_t* from) {
  uint8_t* scales = block + f.scales;
  if (f.kind == Scales::kBytes) return void(std::memcpy(scales, from, f.sub_blocks));
  for (size_t i = 0; i < f.sub_blocks * (f.has_minima() ? 2 : 1); ++i) {
    const auto [low, high] = pieces(f.kind, i);
    const unsigned value = f.has_minima() ? from[i] : from[i] + 32u;
    put(scales, low, value);
    put(scales, high, value >> low.bits);
  }
}

/// Calls f(byte of the block, shift there, byte of the plane, shift there, mask) for every code of row r. stride32:
/// bytes from 32 values to the next in the plane.
template <class F>
void each_code(const Field& field, size_t stride32, size_t values, size_t r, F&& f) {
  const size_t bits = field.bits, mask = (1u << bits) - 1;
  for (size_t k = 0; bits != 0 && k < values; ++k) {
    const size_t group = k / 32, step = k % 32 / 4;
    const size_t byte = group * stride32 + step % bits * 64 + r * 4 + k % 4;
    f(field.byte(k), field.shift(k), byte, static_cast<unsigned>(bits * (step / bits)), static_cast<unsigned>(mask));
  }
}

void pack_block(uint8_t* group, const Form& f, const PackedLayout& at, const uint8_t* block, size_t r) {
  std::memcpy(group + at.d + r * f.d_bytes, block + f.d, f.d_bytes);
  if (f.m >= 0) std::memcpy(group + at.m + r * 2, block + f.m, 2);
  if (f.sub_blocks != 0) {
    uint8_t scales[16];
    read_scales(scales, f, block);
    const size_t n = f.sub_blocks * (f.has_minima() ? 2 : 1);  // minima follow the scales, in the plane after theirs
    for (size_t i = 0; i < n; ++i) group[at.scales + i * kPanelRows + r] = scales[i];
  }
  const auto copy = [&](uint8_t* plane) {
    return [=](size_t from, unsigned shift, size_t to, unsigned to_shift, unsigned mask) {
      plane[to] = static_cast<uint8_t>(plane[to] | ((block[from] >> shift) & mask) << to_shift);
    };
  };
  each_code(f.codes, at.stride32, f.values, r, copy(group + at.codes));
  each_code(f.high, at.stride32, f.values, r, copy(group + at.high));
}

}  // namespace

bool is_packed(DType type) { return int8_block(type) != 0; }

size_t group_bytes(DType type) {
  return is_packed(type) ? packed_layout(type).bytes : info(type).block_bytes * kPanelRows;
}

PackedLayout packed_layout(DType type) { return layout_of(form_of(type)); }

void pack_rows(std::byte* out, DType type, const std::byte* rows, size_t row_bytes, size_t n, size_t blocks) {
  const Form f = form_of(type);
  const PackedLayout at = layout_of(f);
  std::fill_n(out, blocks * at.bytes, std::byte{});
  const uint8_t zeros[256] = {};
  for (size_t b = 0; b < blocks; ++b)
    for (size_t r = 0; r < kPanelRows; ++r) {
      const auto* block = reinterpret_cast<const uint8_t*>(rows + r * row_bytes + b * info(type).block_bytes);
      pack_block(reinterpret_cast<uint8_t*>(out + b * at.bytes), f, at, r < n ? block : zeros, r);
    }
}

void unpack_block(std::byte* block, DType type, const std::byte* group, size_t r) {
  const Form f = form_of(type);
  const PackedLayout at = layout_of(f);
  auto* out = reinterpret_cast<uint8_t*>(block);
  const auto* in = reinterpret_cast<const uint8_t*>(group);
  std::memset(out, 0, info(type).block_bytes);
  std::memcpy(out + f.d, in + at.d + r * f.d_bytes, f.d_bytes);
  if (f.m >= 0) std::memcpy(out + f.m, in + at.m + r * 2, 2);
  if (f.sub_blocks != 0) {
    uint8_t scales[16];
    for (size_t i = 0; i < f.sub_blocks * (f.has_minima() ? 2 : 1); ++i) scales[i] = in[at.scales + i * kPanelRows + r];
    write_scales(out, f, scales);
  }
  const auto copy = [&](const uint8_t* plane) {
    return [=](size_t to, unsigned shift, size_t from, unsigned from_shift, unsigned mask) {
      out[to] = static_cast<uint8_t>(out[to] | ((plane[from] >> from_shift) & mask) << shift);
    };
  };
  each_code(f.codes, at.stride32, f.values, r, copy(in + at.codes));
  each_code(f.high, at.stride32, f.values, r, copy(in + at.high));
}

}  // namespace fathom
