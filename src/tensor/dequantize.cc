#include "tensor/dequantize.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

#include "tensor/float_types.h"
#include "tensor/iq_grids.h"

namespace fathom {
namespace {

template <class T>
T load(const uint8_t* p) {
  T value;
  std::memcpy(&value, p, sizeof value);
  return value;
}

float half(const uint8_t* p) { return f32_from_f16(load<uint16_t>(p)); }

constexpr std::array<int8_t, 16> kIq4Values = {-127, -104, -83, -65, -49, -35, -22, -10,
                                               1,    13,   25,  38,  53,  69,  89,  113};
constexpr std::array<int8_t, 16> kE2M1Doubled = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

// --- Blocks of 32: byte j has element j in its low and element j + 16 in its high nibble -----------------------------

void q8_0(const uint8_t* b, float* y) {
  const float d = half(b);
  for (size_t i = 0; i < 32; ++i) y[i] = d * static_cast<float>(static_cast<int8_t>(b[2 + i]));
}

void q4_0(const uint8_t* b, float* y) {
  const float d = half(b);
  for (size_t j = 0; j < 16; ++j) {
    y[j] = d * static_cast<float>((b[2 + j] & 15) - 8);
    y[j + 16] = d * static_cast<float>((b[2 + j] >> 4) - 8);
  }
}

void q4_1(const uint8_t* b, float* y) {
  const float d = half(b), m = half(b + 2);
  for (size_t j = 0; j < 16; ++j) {
    y[j] = d * static_cast<float>(b[4 + j] & 15) + m;
    y[j + 16] = d * static_cast<float>(b[4 + j] >> 4) + m;
  }
}

/// Element i of a 5-bit block: nibble and bit i of qh.
int five_bits(const uint8_t* qs, uint32_t qh, size_t i) {
  const int nibble = i < 16 ? qs[i] & 15 : qs[i - 16] >> 4;
  return nibble | static_cast<int>((qh >> i) & 1) << 4;
}

void q5_0(const uint8_t* b, float* y) {
  const float d = half(b);
  const auto qh = load<uint32_t>(b + 2);
  for (size_t i = 0; i < 32; ++i) y[i] = d * static_cast<float>(five_bits(b + 6, qh, i) - 16);
}

void q5_1(const uint8_t* b, float* y) {
  const float d = half(b), m = half(b + 2);
  const auto qh = load<uint32_t>(b + 4);
  for (size_t i = 0; i < 32; ++i) y[i] = d * static_cast<float>(five_bits(b + 8, qh, i)) + m;
}

void table_nibbles(const uint8_t* qs, float d, const std::array<int8_t, 16>& table, float* y) {
  for (size_t j = 0; j < 16; ++j) {
    y[j] = d * static_cast<float>(table[qs[j] & 15]);
    y[j + 16] = d * static_cast<float>(table[qs[j] >> 4]);
  }
}

void iq4_nl(const uint8_t* b, float* y) { table_nibbles(b + 2, half(b), kIq4Values, y); }

void mxfp4(const uint8_t* b, float* y) {
  // 2^(e - 128): a subnormal for e = 0 and 1, else an exponent field of e - 1.
  const uint32_t e = b[0];
  const float d = f32_from_bits(e < 2 ? 0x00200000u << e : (e - 1) << 23);
  table_nibbles(b + 1, d, kE2M1Doubled, y);
}

// --- K types: blocks of 256 ------------------------------------------------------------------------------------------

void q2_k(const uint8_t* b, float* y) {
  const uint8_t *scales = b, *qs = b + 16;
  const float d = half(b + 80), dmin = half(b + 82);
  for (size_t i = 0; i < 256; ++i) {
    const size_t n = i / 128, j = i / 32 % 4, l = i % 32, s = i / 16;
    const float scale = d * static_cast<float>(scales[s] & 15), min = dmin * static_cast<float>(scales[s] >> 4);
    y[i] = scale * static_cast<float>((qs[32 * n + l] >> (2 * j)) & 3) - min;
  }
}

void q3_k(const uint8_t* b, float* y) {
  const uint8_t *hmask = b, *qs = b + 32, *scales = b + 96;
  const float d = half(b + 108);
  for (size_t i = 0; i < 256; ++i) {
    const size_t n = i / 128, j = i / 32 % 4, l = i % 32, s = i / 16;
    const int low = s < 8 ? scales[s] & 15 : scales[s - 8] >> 4, high = (scales[8 + s % 4] >> (2 * (s / 4))) & 3;
    const int q = ((qs[32 * n + l] >> (2 * j)) & 3) - ((hmask[l] >> (4 * n + j)) & 1 ? 0 : 4);
    y[i] = d * static_cast<float>((low | high << 4) - 32) * static_cast<float>(q);
  }
}

/// The 6-bit scale and min of sub-block j, multiplied by d and dmin.
struct ScaleMin {
  float scale, min;
};
ScaleMin scale_min(const uint8_t* b, size_t j) {
  const uint8_t* scales = b + 4;
  const int sc = j < 4 ? scales[j] & 63 : (scales[j + 4] & 15) | (scales[j - 4] >> 6) << 4;
  const int m = j < 4 ? scales[j + 4] & 63 : (scales[j + 4] >> 4) | (scales[j] >> 6) << 4;
  return {half(b) * static_cast<float>(sc), half(b + 2) * static_cast<float>(m)};
}

void q4_k(const uint8_t* b, float* y) {
  for (size_t j = 0; j < 8; ++j) {
    const ScaleMin s = scale_min(b, j);
    const uint8_t* qs = b + 16 + 32 * (j / 2);
    for (size_t l = 0; l < 32; ++l)
      y[32 * j + l] = s.scale * static_cast<float>(j % 2 ? qs[l] >> 4 : qs[l] & 15) - s.min;
  }
}

void q5_k(const uint8_t* b, float* y) {
  for (size_t j = 0; j < 8; ++j) {
    const ScaleMin s = scale_min(b, j);
    const uint8_t *qh = b + 16, *qs = b + 48 + 32 * (j / 2);
    for (size_t l = 0; l < 32; ++l) {
      const int q = (j % 2 ? qs[l] >> 4 : qs[l] & 15) + 16 * ((qh[l] >> j) & 1);
      y[32 * j + l] = s.scale * static_cast<float>(q) - s.min;
    }
  }
}

void q6_k(const uint8_t* b, float* y) {
  const float d = half(b + 208);
  for (size_t i = 0; i < 256; ++i) {
    const size_t n = i / 128, quarter = i / 32 % 4, l = i % 32;
    const uint8_t low = b[64 * n + l + 32 * (quarter % 2)], high = b[128 + 32 * n + l];
    const int q = (quarter < 2 ? low & 15 : low >> 4) | ((high >> (2 * quarter)) & 3) << 4;
    const auto scale = static_cast<int8_t>(b[192 + 8 * n + l / 16 + 2 * quarter]);
    y[i] = d * static_cast<float>(scale) * static_cast<float>(q - 32);
  }
}

void iq4_xs(const uint8_t* b, float* y) {
  const float d = half(b);
  const auto scales_h = load<uint16_t>(b + 2);
  for (size_t ib = 0; ib < 8; ++ib) {
    const int ls = ((b[4 + ib / 2] >> (4 * (ib % 2))) & 15) | ((scales_h >> (2 * ib)) & 3) << 4;
    table_nibbles(b + 8 + 16 * ib, d * static_cast<float>(ls - 32), kIq4Values, y + 32 * ib);
  }
}

// --- IQ types: i counts groups of 32 values, l groups of 8 in them ---------------------------------------------------

/// Seven sign bits and the eighth that makes the number of minus signs even.
uint32_t even_signs(uint32_t s) { return s | (static_cast<uint32_t>(std::popcount(s)) & 1) << 7; }

/// y[j] = scale * grid[entry][j] * sign j, `n` values from bit `first` of signs on.
void signed_entry(const IqGrid& grid, uint32_t entry, float scale, uint32_t signs, uint32_t first, uint32_t n,
                  float* y) {
  for (uint32_t j = 0; j < n; ++j) {
    const float v = scale * static_cast<float>(grid.value(entry, j));
    y[j] = (signs >> (first + j)) & 1 ? -v : v;
  }
}

float low_scale(float d, uint32_t s, float factor) { return d * (0.5f + static_cast<float>(s)) * factor; }

void iq2_xxs(const uint8_t* b, float* y) {
  const IqGrid& grid = *iq_grid(DType::kIQ2_XXS);
  for (uint32_t i = 0; i < 8; ++i) {
    const uint8_t* g = b + 2 + 8 * i;
    const auto a = load<uint32_t>(g + 4);
    const float scale = low_scale(half(b), a >> 28, 0.25f);
    for (uint32_t l = 0; l < 4; ++l)
      signed_entry(grid, g[l], scale, even_signs((a >> (7 * l)) & 127), 0, 8, y + 32 * i + 8 * l);
  }
}

void iq2_xs(const uint8_t* b, float* y) {
  const IqGrid& grid = *iq_grid(DType::kIQ2_XS);
  for (uint32_t k = 0; k < 32; ++k) {
    const auto q = load<uint16_t>(b + 2 + 2 * k);
    const float scale = low_scale(half(b), (b[66 + k / 4] >> (4 * (k % 4 / 2))) & 15, 0.25f);
    signed_entry(grid, q & 511, scale, even_signs(q >> 9), 0, 8, y + 8 * k);
  }
}

void iq2_s(const uint8_t* b, float* y) {
  const IqGrid& grid = *iq_grid(DType::kIQ2_S);
  for (uint32_t k = 0; k < 32; ++k) {
    const uint32_t i = k / 4, l = k % 4, entry = b[2 + k] | ((uint32_t{b[66 + i]} << (8 - 2 * l)) & 0x300);
    const float scale = low_scale(half(b), (b[74 + i] >> (4 * (l / 2))) & 15, 0.25f);
    signed_entry(grid, entry, scale, b[34 + k], 0, 8, y + 8 * k);
  }
}

void iq3_xxs(const uint8_t* b, float* y) {
  const IqGrid& grid = *iq_grid(DType::kIQ3_XXS);
  for (uint32_t k = 0; k < 64; ++k) {  // entries of 4 values
    const uint32_t i = k / 8, l = k % 8 / 2;
    const auto a = load<uint32_t>(b + 66 + 4 * i);
    const uint32_t signs = even_signs((a >> (7 * l)) & 127);
    signed_entry(grid, b[2 + k], low_scale(half(b), a >> 28, 0.5f), signs, 4 * (k % 2), 4, y + 4 * k);
  }
}

void iq3_s(const uint8_t* b, float* y) {
  const IqGrid& grid = *iq_grid(DType::kIQ3_S);
  for (uint32_t k = 0; k < 64; ++k) {
    const uint32_t i = k / 8, entry = b[2 + k] | ((uint32_t{b[66 + i]} >> (k % 8)) & 1) << 8;
    const int nibble = (b[106 + i / 2] >> (4 * (i % 2))) & 15;
    const float scale = half(b) * static_cast<float>(1 + 2 * nibble);
    signed_entry(grid, entry, scale, b[74 + k / 2], 4 * (k % 2), 4, y + 4 * k);
  }
}

void shifted_entry(uint32_t entry, float scale, bool down, float* y) {
  const IqGrid& grid = *iq_grid(DType::kIQ1_S);
  for (uint32_t j = 0; j < 8; ++j)
    y[j] = scale * (static_cast<float>(grid.value(entry, j)) + (down ? -0.125f : 0.125f));
}

void iq1_s(const uint8_t* b, float* y) {
  for (uint32_t k = 0; k < 32; ++k) {
    const uint32_t l = k % 4, qh = load<uint16_t>(b + 34 + 2 * (k / 4));
    const float scale = half(b) * static_cast<float>(2 * (qh >> 12 & 7) + 1);
    shifted_entry(b[2 + k] | (qh >> (3 * l) & 7) << 8, scale, qh >> 15, y + 8 * k);
  }
}

void iq1_m(const uint8_t* b, float* y) {
  std::array<uint32_t, 4> sc{};
  for (size_t i = 0; i < 4; ++i) sc[i] = load<uint16_t>(b + 48 + 2 * i);
  const float d =
      f32_from_f16(static_cast<uint16_t>(sc[0] >> 12 | (sc[1] >> 8 & 0xf0) | (sc[2] >> 4 & 0xf00) | (sc[3] & 0xf000)));
  for (uint32_t k = 0; k < 32; ++k) {
    const uint32_t i = k / 4, l = k % 4, n = b[32 + 2 * i + l / 2] >> (4 * (l % 2)) & 15;
    const float scale = d * static_cast<float>(2 * (sc[i / 2] >> (6 * (i % 2) + 3 * (l / 2)) & 7) + 1);
    shifted_entry(b[k] | (n & 7) << 8, scale, n >> 3, y + 8 * k);
  }
}

// --- Plain types -----------------------------------------------------------------------------------------------------

void f32(const uint8_t* b, float* y) { *y = load<float>(b); }
void f16(const uint8_t* b, float* y) { *y = half(b); }
void bf16(const uint8_t* b, float* y) { *y = f32_from_bf16(load<uint16_t>(b)); }
void f64(const uint8_t* b, float* y) { *y = static_cast<float>(load<double>(b)); }
void f8_e4m3(const uint8_t* b, float* y) { *y = f32_from_f8e4m3(*b); }

template <void (*block)(const uint8_t*, float*)>
void all_blocks(const DTypeInfo& type, const std::byte* blocks, float* out, size_t n) {
  const auto* b = reinterpret_cast<const uint8_t*>(blocks);
  for (size_t i = 0; i < n; i += type.block_size, b += type.block_bytes) block(b, out + i);
}

using Decoder = void (*)(const DTypeInfo&, const std::byte*, float*, size_t);

/// Null for integers.
Decoder decoder(DType type) {
  switch (type) {
    case DType::kF32: return all_blocks<f32>;
    case DType::kF16: return all_blocks<f16>;
    case DType::kBF16: return all_blocks<bf16>;
    case DType::kF64: return all_blocks<f64>;
    case DType::kF8E4M3: return all_blocks<f8_e4m3>;
    case DType::kQ4_0: return all_blocks<q4_0>;
    case DType::kQ4_1: return all_blocks<q4_1>;
    case DType::kQ5_0: return all_blocks<q5_0>;
    case DType::kQ5_1: return all_blocks<q5_1>;
    case DType::kQ8_0: return all_blocks<q8_0>;
    case DType::kIQ4_NL: return all_blocks<iq4_nl>;
    case DType::kMXFP4: return all_blocks<mxfp4>;
    case DType::kQ2_K: return all_blocks<q2_k>;
    case DType::kQ3_K: return all_blocks<q3_k>;
    case DType::kQ4_K: return all_blocks<q4_k>;
    case DType::kQ5_K: return all_blocks<q5_k>;
    case DType::kQ6_K: return all_blocks<q6_k>;
    case DType::kIQ4_XS: return all_blocks<iq4_xs>;
    case DType::kIQ2_XXS: return all_blocks<iq2_xxs>;
    case DType::kIQ2_XS: return all_blocks<iq2_xs>;
    case DType::kIQ2_S: return all_blocks<iq2_s>;
    case DType::kIQ3_XXS: return all_blocks<iq3_xxs>;
    case DType::kIQ3_S: return all_blocks<iq3_s>;
    case DType::kIQ1_S: return all_blocks<iq1_s>;
    case DType::kIQ1_M: return all_blocks<iq1_m>;
    case DType::kI8:
    case DType::kU8:
    case DType::kI16:
    case DType::kI32:
    case DType::kI64:
    case DType::kBool: break;
  }
  return nullptr;
}

constexpr size_t kScaleBlock = 128;

size_t blocks_of(size_t n) { return n / kScaleBlock + (n % kScaleBlock != 0); }

/// values [..., rows, columns] *= scales [..., ceil(rows / 128), ceil(columns / 128)], block by block.
void apply_scales(const Tensor& values, const Tensor& scales) {
  const size_t rank = values.shape().rank();
  if (rank < 2 || scales.shape().rank() != rank || scales.dtype() != DType::kF32)
    throw Error(cat("FP8 weight ", values.shape(), ": expected f32 scales of the same rank, found ", scales.dtype(),
                    " ", scales.shape()));
  const size_t rows = values.dim(rank - 2), columns = values.dim(rank - 1), tiles = blocks_of(columns);
  bool fits = scales.dim(rank - 2) == blocks_of(rows) && scales.dim(rank - 1) == tiles;
  for (size_t i = 0; i + 2 < rank; ++i) fits = fits && scales.dim(i) == values.dim(i);
  if (!fits)
    throw Error(
        cat("FP8 weight ", values.shape(), ": expected a scale per block of 128 x 128, found scales ", scales.shape()));
  float* y = values.data<float>();
  const std::byte* s = scales.bytes();
  for (size_t row = 0; row < values.rows(); ++row, y += columns) {
    const size_t tile_row = row / rows * blocks_of(rows) + row % rows / kScaleBlock;
    for (size_t c = 0; c < columns; ++c) {
      const size_t at = tile_row * tiles + c / kScaleBlock;
      y[c] *= load<float>(reinterpret_cast<const uint8_t*>(s) + 4 * at);
    }
  }
}

}  // namespace

bool can_dequantize(DType type) { return decoder(type) != nullptr; }

void dequantize(DType type, const std::byte* blocks, float* out, size_t n) {
  const Decoder decode = decoder(type);
  check(decode != nullptr, "dequantize: an integer type");
  check(n % info(type).block_size == 0, "dequantize: part of a block");
  decode(info(type), blocks, out, n);
}

Tensor dequantize(const Tensor& stored, const Tensor& scale_inv) {
  if (!can_dequantize(stored.dtype()))
    throw Error(cat("expected a floating or quantised tensor, found ", stored.dtype()));
  const Tensor out = make_tensor(DType::kF32, stored.shape());
  dequantize(stored.dtype(), stored.bytes(), out.data<float>(), stored.count());
  if (scale_inv.defined()) apply_scales(out, scale_inv);
  return out;
}

}  // namespace fathom
