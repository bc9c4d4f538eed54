#include "quant/quantize.h"

#include <cmath>
#include <cstring>
#include <limits>

#include "base/error.h"
#include "quant/quantize_blocks.h"
#include "tensor/float_types.h"

namespace fathom {
namespace quant_detail {

bool floored_importance(const float* importance, size_t n, float* floored) {
  double sum = 0;
  for (size_t i = 0; i < n; ++i) sum += importance[i];
  const float floor = static_cast<float>(sum / static_cast<double>(n) * 1e-6);
  if (!(floor > 0) || !std::isfinite(floor)) return false;
  for (size_t i = 0; i < n; ++i) floored[i] = importance[i] > floor ? importance[i] : floor;
  return true;
}

namespace {

void write_f32(const float* x, uint8_t* out, size_t n, const float*) { std::memcpy(out, x, n * sizeof *x); }

template <uint16_t (*convert)(float)>
void write_16(const float* x, uint8_t* out, size_t n, const float*) {
  for (size_t i = 0; i < n; ++i) {
    const uint16_t bits = convert(x[i]);
    std::memcpy(out + 2 * i, &bits, sizeof bits);
  }
}

/// Null for types that are not written.
BlockWriter writer(DType type) {
  switch (type) {
    case DType::kF32: return write_f32;
    case DType::kF16: return write_16<f16_from_f32>;
    case DType::kBF16: return write_16<bf16_from_f32>;
    case DType::kQ8_0: return write_q8_0;
    case DType::kQ4_0: return write_q4_0;
    case DType::kQ4_1: return write_q4_1;
    case DType::kQ5_0: return write_q5_0;
    case DType::kQ5_1: return write_q5_1;
    case DType::kQ2_K: return write_q2_k;
    case DType::kQ3_K: return write_q3_k;
    case DType::kQ4_K: return write_q4_k;
    case DType::kQ5_K: return write_q5_k;
    case DType::kQ6_K: return write_q6_k;
    case DType::kIQ4_NL: return write_iq4_nl;
    case DType::kIQ4_XS: return write_iq4_xs;
    default: return nullptr;
  }
}

}  // namespace
}  // namespace quant_detail

bool can_quantize(DType type) { return quant_detail::writer(type) != nullptr; }

std::optional<size_t> first_unstorable(DType type, const float* x, size_t n) {
  float largest = 65504.0f;
  if (type == DType::kF32) largest = std::numeric_limits<float>::max();
  if (type == DType::kBF16) largest = f32_from_bf16(0x7f7f);
  for (size_t i = 0; i < n; ++i)
    if (!(std::fabs(x[i]) <= largest)) return i;
  return std::nullopt;
}

void quantize(DType type, const float* x, std::byte* out, size_t n, const float* importance) {
  const quant_detail::BlockWriter write = quant_detail::writer(type);
  check(write != nullptr, "quantize: a type that is not written");
  check(n % info(type).block_size == 0, "quantize: whole blocks");
  write(x, reinterpret_cast<uint8_t*>(out), n, importance);
}

}  // namespace fathom
