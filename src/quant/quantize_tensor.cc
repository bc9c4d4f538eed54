#include "quant/quantize_tensor.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "base/error.h"
#include "quant/quantize.h"
#include "tensor/dequantize.h"

namespace fathom {
namespace {

constexpr uint64_t kPieceValues = 1 << 16;  // a multiple of every block: some milliseconds of one thread
constexpr uint64_t kMaxPieces = 256;
// Below this no scale of any block format comes near half precision's limit, so the result is not read back.
constexpr float kSurelyHeld = 4096.0f;

void keep_least(std::atomic<uint64_t>& least, uint64_t value) {
  uint64_t known = least.load();
  while (value < known && !least.compare_exchange_weak(known, value)) {
  }
}

/// The index of the first value that is infinite or not a number, or x.size(). A plain pass, so that it vectorises.
size_t first_bad(std::span<const float> x) {
  uint32_t largest = 0;
  for (const float v : x) largest = std::max(largest, std::bit_cast<uint32_t>(v) & 0x7fffffffu);
  if (largest < 0x7f800000u) return x.size();
  return static_cast<size_t>(std::find_if(x.begin(), x.end(), [](float v) { return !std::isfinite(v); }) - x.begin());
}

float largest_magnitude(std::span<const float> x) {
  float largest = 0;
  for (const float v : x) largest = std::max(largest, std::fabs(v));
  return largest;
}

uint64_t bytes_for(DType type, uint64_t values) { return values / info(type).block_size * info(type).block_bytes; }

}  // namespace

void TensorQuantizer::run(const PlannedTensor& tensor, FunctionRef<void(uint64_t)> done) {
  const TensorInfo& from = tensor.source.range.info;
  const std::span<const std::byte> stored =
      tensor.source.file->bytes().subspan(tensor.source.range.offset, from.size_bytes);
  const uint64_t count = from.shape.count(), row = from.shape.back();
  size_t without_data = 0;
  means_ = tensor.importance ? mean_squares(*tensor.importance, without_data) : std::vector<float>();
  piece_ = means_.empty() ? kPieceValues : std::max<uint64_t>(kPieceValues / row, 1) * row;
  const uint64_t pieces = std::min<uint64_t>(std::max<size_t>(4 * pool_.size(), 16), kMaxPieces);
  const uint64_t slab_values =
      means_.empty() ? pieces * piece_ : std::max(pieces * kPieceValues / piece_, uint64_t{1}) * piece_;
  for (uint64_t begin = 0; begin < count; begin += slab_values) {
    const uint64_t n = std::min(slab_values, count - begin);
    const std::span<const std::byte> part = stored.subspan(bytes_for(from.dtype, begin), bytes_for(from.dtype, n));
    convert(tensor, {part.data(), begin, n});
    refuse_bad_values(tensor);
    writer_.write(from.dtype == tensor.target.dtype
                      ? part
                      : std::span<const std::byte>(blocks_).first(bytes_for(tensor.target.dtype, n)));
    tensor.source.file->release(part);
    done(part.size());
  }
}

void TensorQuantizer::convert(const PlannedTensor& tensor, const Slab& slab) {
  if (!can_dequantize(tensor.source.range.info.dtype)) return;  // integers are copied as they are
  values_.resize(std::max<size_t>(values_.size(), slab.values));
  blocks_.resize(std::max<size_t>(blocks_.size(), bytes_for(tensor.target.dtype, slab.values)));
  pool_.run((slab.values + piece_ - 1) / piece_, [&](size_t piece) { convert_piece(tensor, slab, piece); });
}

void TensorQuantizer::convert_piece(const PlannedTensor& tensor, const Slab& slab, size_t piece) {
  const DType from = tensor.source.range.info.dtype, to = tensor.target.dtype;
  const uint64_t begin = piece * piece_, n = std::min(piece_, slab.values - begin);
  const std::span<float> x(values_.data() + begin, n);
  dequantize(from, slab.source + bytes_for(from, begin), x.data(), n);
  if (const size_t bad = first_bad(x); bad < n) return keep_least(bad_, slab.begin + begin + bad);
  if (from == to) return;
  const bool may_not_fit = largest_magnitude(x) > kSurelyHeld;
  std::byte* out = blocks_.data() + bytes_for(to, begin);
  if (means_.empty()) {
    quantize(to, x.data(), out, n);
  } else {
    const Shape& shape = tensor.target.shape;
    const uint64_t row = shape.back(), rows_of_matrix = shape.rank() < 2 ? 1 : shape[shape.rank() - 2];
    for (uint64_t i = 0; i < n; i += row) {  // a row at a time: importances weigh it as a whole
      const uint64_t matrix = (slab.begin + begin + i) / row / rows_of_matrix;
      quantize(to, x.data() + i, out + bytes_for(to, i), row, means_.data() + matrix * row);
    }
  }
  if (!may_not_fit) return;
  dequantize(to, out, x.data(), n);
  if (const size_t bad = first_bad(x); bad < n) keep_least(too_large_, slab.begin + begin + bad);
}

void TensorQuantizer::refuse_bad_values(const PlannedTensor& tensor) {
  const std::string what = cat(file_, ": tensor ", printable(tensor.target.name), ": value ");
  if (bad_ != kNone) throw Error(cat(what, bad_, ": expected a finite number, found an infinite or undefined one"));
  if (too_large_ != kNone)
    throw Error(cat(what, too_large_, ": expected one that ", tensor.target.dtype, " can hold, found a larger one"));
}

}  // namespace fathom
