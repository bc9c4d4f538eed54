#include "kernels/weight.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "tensor/dequantize.h"
#include "tensor/float_types.h"

namespace fathom {

Weight::Weight(std::string name, const Tensor& stored, Tensor scale_inv)
    : name_(std::move(name)), scale_inv_(std::move(scale_inv)) {
  const DType dtype = stored.dtype();
  switch (dtype) {
    case DType::kI8:
    case DType::kU8:
    case DType::kI16:
    case DType::kI32:
    case DType::kI64:
    case DType::kBool:
      throw Error(cat("tensor ", name_, ": expected a floating-point or quantised type, found ", dtype));
    default: break;
  }
  if (stored.shape().rank() != 2)
    throw Error(cat("tensor ", name_, ": expected a matrix, found shape ", stored.shape()));
  const size_t O = stored.dim(0), K = stored.dim(1);
  const DTypeInfo& type = info(dtype);
  if (K % type.block_size != 0)
    throw Error(cat("tensor ", name_, ": expected rows of a multiple of ", type.block_size, " values for ", dtype,
                    ", found ", K));
  if (dtype == DType::kF8E4M3) {
    require_shape(name_ + "_scale_inv", scale_inv_, {(O + 127) / 128, (K + 127) / 128});
  }
  const size_t blocks = K / type.block_size, panels = (O + kPanelRows - 1) / kPanelRows, bb = type.block_bytes;
  const size_t panel_bytes = blocks * group_bytes(dtype);
  panels_ = make_tensor(DType::kU8, {panels * panel_bytes});
  const std::byte* in = stored.bytes();
  std::byte* out = panels_.bytes();
  for (size_t p = 0; p < panels; ++p) {
    if (is_packed(dtype)) {
      const size_t first = p * kPanelRows, row_bytes = blocks * bb;
      best_kernels().pack_rows(out + p * panel_bytes, dtype, in + first * row_bytes, row_bytes,
                               std::min(kPanelRows, O - first), blocks);
      continue;
    }
    for (size_t r = 0; r < kPanelRows; ++r) {
      const size_t o = p * kPanelRows + r;
      std::byte* to = out + (p * blocks * kPanelRows + r) * bb;
      for (size_t b = 0; b < blocks; ++b, to += kPanelRows * bb) {
        if (o < O)
          std::memcpy(to, in + (o * blocks + b) * bb, bb);
        else
          std::memset(to, 0, bb);
      }
    }
  }
  view_ = {dtype, out, O, K, scale_inv_.defined() ? scale_inv_.data<float>() : nullptr};
}

void Weight::row(size_t o, float* out) const {
  check(o < O(), "row beyond the weight");
  const DTypeInfo& type = info(dtype());
  const size_t blocks = K() / type.block_size, bb = type.block_bytes;
  const std::byte* from = view_.data + o / kPanelRows * view_.panel_bytes();
  if (is_packed(dtype())) {
    std::byte block[256];
    const size_t group = group_bytes(dtype());
    for (size_t b = 0; b < blocks; ++b, from += group) {
      unpack_block(block, dtype(), from, o % kPanelRows);
      dequantize(dtype(), block, out + b * type.block_size, type.block_size);
    }
    return;
  }
  from += o % kPanelRows * bb;
  for (size_t b = 0; b < blocks; ++b, from += kPanelRows * bb) {
    if (dtype() == DType::kF8E4M3) {
      const float scale = view_.scale_inv[(o / 128) * ((K() + 127) / 128) + b / 128];
      out[b] = f32_from_f8e4m3(static_cast<uint8_t>(*from)) * scale;
    } else {
      dequantize(dtype(), from, out + b * type.block_size, type.block_size);
    }
  }
}

Tensor Weight::row_major() const {
  if (dtype() == DType::kF64) {
    Tensor out = make_tensor(DType::kF64, {O(), K()});
    const auto* in = reinterpret_cast<const double*>(view_.data);
    for (size_t o = 0; o < O(); ++o)
      for (size_t k = 0; k < K(); ++k)
        out.data<double>()[o * K() + k] = in[((o / kPanelRows) * K() + k) * kPanelRows + o % kPanelRows];
    return out;
  }
  Tensor out = make_tensor(DType::kF32, {O(), K()});
  for (size_t o = 0; o < O(); ++o) row(o, out.data<float>() + o * K());
  return out;
}

}  // namespace fathom
