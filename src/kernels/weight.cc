#include "kernels/weight.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "tensor/dequantize.h"
#include "tensor/float_types.h"

namespace fathom {
namespace {

constexpr size_t kHugePage = size_t{2} << 20;

/// Panel p of the stored matrix [O, K].
void pack_panel(std::byte* out, DType dtype, const std::byte* in, size_t p, size_t O, size_t blocks) {
  const size_t bb = info(dtype).block_bytes, first = p * kPanelRows, rows = std::min(kPanelRows, O - first);
  if (is_packed(dtype))
    return best_kernels().pack_rows(out, dtype, in + first * blocks * bb, blocks * bb, rows, blocks);
  for (size_t r = 0; r < kPanelRows; ++r) {
    std::byte* to = out + r * bb;
    for (size_t b = 0; b < blocks; ++b, to += kPanelRows * bb) {
      if (r < rows)
        std::memcpy(to, in + ((first + r) * blocks + b) * bb, bb);
      else
        std::memset(to, 0, bb);
    }
  }
}

}  // namespace

size_t packed_bytes(DType dtype, size_t O, size_t K) {
  return (O + kPanelRows - 1) / kPanelRows * (K / info(dtype).block_size) * group_bytes(dtype);
}

Weight::Weight(std::string name, const Tensor& stored, Tensor scale_inv, ThreadPool* pool)
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
  const size_t blocks = K / type.block_size, panels = (O + kPanelRows - 1) / kPanelRows;
  const size_t panel_bytes = blocks * group_bytes(dtype);
  panels_ = make_tensor(DType::kU8, {packed_bytes(dtype, O, K)});
  const std::byte* in = stored.bytes();
  std::byte* out = panels_.bytes();
  // Pieces of a huge page where there are many: two threads that touch a new one together would both clear it.
  const size_t piece = panels * panel_bytes < 8 * kHugePage ? kHugePage / 16 : kHugePage;
  const size_t step = std::max<size_t>(1, piece / std::max<size_t>(1, panel_bytes));
  const auto pack = [&](size_t i) {
    for (size_t p = i * step; p < std::min(panels, (i + 1) * step); ++p)
      pack_panel(out + p * panel_bytes, dtype, in, p, O, blocks);
  };
  const size_t pieces = (panels + step - 1) / step;
  if (pool)
    pool->run(pieces, pack);
  else
    for (size_t i = 0; i < pieces; ++i) pack(i);
  view_ = {dtype, out, O, K, scale_inv_.defined() ? scale_inv_.data<float>() : nullptr};
}

Weight::Weight(std::string name, DType dtype, size_t O, size_t K, Tensor panels, Tensor scale_inv)
    : name_(std::move(name)), panels_(std::move(panels)), scale_inv_(std::move(scale_inv)) {
  check(panels_.size_bytes() == packed_bytes(dtype, O, K), "as many bytes as the panels have");
  view_ = {dtype, panels_.bytes(), O, K, scale_inv_.defined() ? scale_inv_.data<float>() : nullptr};
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
