#include "quant/convert_safetensors_values.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "quant/fp8.h"
#include "tensor/dequantize.h"
#include "tensor/float_types.h"

namespace fathom {
namespace {

constexpr size_t kChunk = size_t{1} << 22;  // values in memory at once
constexpr size_t kItem = size_t{1} << 16;   // values that one thread takes; a whole number of blocks of every type

size_t items_of(size_t n) { return n / kItem + (n % kItem != 0); }

template <class Encode, class Decode>
ValueLoss encode_16(const float* x, size_t n, std::byte* out, Encode encode, Decode decode) {
  ValueLoss loss;
  for (size_t i = 0; i < n; ++i) {
    const uint16_t h = encode(x[i]);
    std::memcpy(out + 2 * i, &h, sizeof h);
    const float y = decode(h);
    if (y == x[i] || std::isnan(x[i])) continue;
    ++loss.rounded;
    loss.overflowed += std::isinf(y) && std::isfinite(x[i]);
  }
  return loss;
}

std::span<const std::byte> bytes_of(std::span<const float> x) { return std::as_bytes(x); }

}  // namespace

ValueLoss& ValueLoss::operator+=(const ValueLoss& other) {
  rounded += other.rounded;
  overflowed += other.overflowed;
  return *this;
}

ValueLoss encode_values(const float* x, size_t n, DType type, std::byte* out) {
  if (type == DType::kBF16) return encode_16(x, n, out, bf16_from_f32, f32_from_bf16);
  if (type == DType::kF16) return encode_16(x, n, out, f16_from_f32, f32_from_f16);
  check(type == DType::kF32, "values are written as F32, F16 or BF16");
  if (n != 0) std::memcpy(out, x, n * sizeof(float));
  return {};
}

std::span<const std::byte> WeightConverter::working(const Tensor& t, const Tensor& scale_inv, DType type) {
  if (t.dtype() == type) return {t.bytes(), t.size_bytes()};
  const size_t n = t.count();
  f32_.resize(n);
  if (scale_inv.defined()) {
    const Tensor values = dequantize(t, scale_inv);
    std::copy_n(values.data<float>(), n, f32_.data());
    return bytes_of(f32_);
  }
  const DTypeInfo& stored = info(t.dtype());
  pool_.run(items_of(n), [&](size_t item) {
    const size_t begin = item * kItem, count = std::min(kItem, n - begin);
    dequantize(t.dtype(), t.bytes() + begin / stored.block_size * stored.block_bytes, f32_.data() + begin, count);
  });
  return bytes_of(f32_);
}

void WeightConverter::emit(std::span<const std::byte> values, bool stored_so, DType type, Sink sink) {
  if (stored_so || type == DType::kF32) {
    for (size_t at = 0; at < values.size(); at += kChunk)
      sink(values.subspan(at, std::min(kChunk, values.size() - at)));
    return;
  }
  const size_t n = values.size() / sizeof(float);
  const auto* x = reinterpret_cast<const float*>(values.data());
  encoded_.resize(n * info(type).block_bytes);
  std::vector<ValueLoss> losses(items_of(n));
  pool_.run(losses.size(), [&](size_t item) {
    const size_t begin = item * kItem;
    losses[item] =
        encode_values(x + begin, std::min(kItem, n - begin), type, encoded_.data() + begin * info(type).block_bytes);
  });
  for (const ValueLoss& loss : losses) loss_ += loss;
  sink(encoded_);
}

void WeightConverter::as_stored(const StoredTensor& from, DType type, Sink sink) {
  const Tensor& t = from.data;
  const bool stored_so = t.dtype() == type;
  if (!stored_so && !can_dequantize(t.dtype())) throw Error(cat("values of type ", t.dtype(), " cannot become ", type));
  const size_t columns = std::max<size_t>(1, t.shape().rank() ? t.shape().back() : 1), rows = t.count() / columns;
  const Tensor flat = t.reshaped({rows, columns});
  const bool scaled = from.scale_inv.defined();  // then a part is whole blocks
  const size_t step =
      scaled ? std::max<size_t>(1, kChunk / columns / kFp8Block) * kFp8Block : std::max<size_t>(1, kChunk / columns);
  for (size_t r = 0; r < rows; r += step) {
    const size_t n = std::min(step, rows - r);
    const Tensor part = flat.slice(r, n);
    const Tensor scales = scaled ? from.scale_inv.slice(r / kFp8Block, n / kFp8Block + (n % kFp8Block != 0)) : Tensor();
    emit(working(part, scales, type), stored_so, type, sink);
    checkpoint_.release(part);
  }
}

void WeightConverter::halves(const WeightToWrite& weight, Sink sink) {
  const Tensor t = checkpoint_.find(weight.source).data;
  const DType type = weight.info.dtype;
  const bool stored_so = t.dtype() == type;
  const size_t d = t.dim(0) / weight.heads, half = d / 2;
  for (size_t h = 0; h < weight.heads; ++h) {
    const std::span<const std::byte> from = working(t.slice(h * d, d), {}, type);
    const size_t row = from.size() / d;
    reordered_.resize(from.size());
    for (size_t i = 0; i < half; ++i)
      for (size_t j : {0, 1})
        std::memcpy(reordered_.data() + (j * half + i) * row, from.data() + (2 * i + j) * row, row);
    emit(reordered_, stored_so, type, sink);
  }
  checkpoint_.release(t);
}

void WeightConverter::joined_kv_b(const WeightToWrite& weight, Sink sink) {
  const Tensor k_b = checkpoint_.find(weight.source + ".k_b_proj.weight").data;
  const Tensor v_b = checkpoint_.find(weight.source + ".v_b_proj.weight").data;
  const DType type = weight.info.dtype;
  const size_t lora = k_b.dim(1), nope = k_b.dim(2);
  for (size_t h = 0; h < k_b.dim(0); ++h) {
    const bool k_stored_so = k_b.dtype() == type;
    const std::span<const std::byte> k = working(k_b.slice(h, 1), {}, type);
    const size_t size = k.size() / (lora * nope);
    reordered_.resize(k.size());
    for (size_t i = 0; i < nope; ++i)  // [lora, nope] -> [nope, lora]
      for (size_t j = 0; j < lora; ++j)
        std::memcpy(reordered_.data() + (i * lora + j) * size, k.data() + (j * nope + i) * size, size);
    emit(reordered_, k_stored_so, type, sink);
    emit(working(v_b.slice(h, 1), {}, type), v_b.dtype() == type, type, sink);
  }
  checkpoint_.release(k_b);
  checkpoint_.release(v_b);
}

void WeightConverter::fp8(const WeightToWrite& weight, Sink sink) {
  const Tensor t = checkpoint_.find(weight.source).data;
  const size_t rows = t.dim(0), columns = t.dim(1), across = (columns + kFp8Block - 1) / kFp8Block;
  const size_t step = std::max(pool_.size(), kChunk / std::max<size_t>(1, kFp8Block * columns)) * kFp8Block;
  for (size_t begin = 0; begin < rows; begin += step) {
    const size_t n = std::min(step, rows - begin), stripes = (n + kFp8Block - 1) / kFp8Block;
    const Tensor part = t.slice(begin, n);
    const auto* x = reinterpret_cast<const float*>(working(part, {}, DType::kF32).data());
    std::vector<float> scales(stripes * across);
    std::vector<uint8_t> finite(stripes);
    encoded_.resize(n * columns);
    pool_.run(stripes, [&](size_t stripe) {
      const size_t r = stripe * kFp8Block, height = std::min(kFp8Block, n - r);
      float* scale = scales.data() + stripe * across;
      finite[stripe] = fp8_block_scales(x + r * columns, height, columns, scale);
      if (weight.form == WeightForm::kFp8Values)
        fp8_block_values(x + r * columns, height, columns, scale,
                         reinterpret_cast<uint8_t*>(encoded_.data()) + r * columns);
    });
    if (std::find(finite.begin(), finite.end(), 0) != finite.end())
      throw Error(cat("tensor ", printable(weight.source), ": expected finite values for FP8, found one that is not"));
    sink(weight.form == WeightForm::kFp8Values ? std::span<const std::byte>(encoded_) : bytes_of(scales));
    checkpoint_.release(part);
  }
}

ValueLoss WeightConverter::convert(const WeightToWrite& weight, Sink sink) {
  loss_ = {};
  switch (weight.form) {
    case WeightForm::kAsStored: as_stored(checkpoint_.find(weight.source), weight.info.dtype, sink); break;
    case WeightForm::kHalves: halves(weight, sink); break;
    case WeightForm::kJoinedKvB: joined_kv_b(weight, sink); break;
    case WeightForm::kFp8Values:
    case WeightForm::kFp8Scales: fp8(weight, sink); break;
  }
  return loss_;
}

}  // namespace fathom
