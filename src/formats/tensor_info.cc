#include "formats/tensor_info.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "base/checked.h"
#include "text/utf8.h"

namespace fathom {

namespace {
/// Neither a control character nor a mark or override of direction.
bool may_be_shown(uint32_t code_point) {
  const auto in = [&](uint32_t first, uint32_t last) { return code_point >= first && code_point <= last; };
  return code_point >= 0x20 && !in(0x7F, 0x9F) && !in(0x200E, 0x200F) && !in(0x2028, 0x202E) && !in(0x2066, 0x2069);
}
}  // namespace

std::string printable(std::string_view text) {
  constexpr size_t kLongest = 100;
  std::string out;
  size_t at = 0;
  while (at < text.size() && at < kLongest) {
    const Utf8Unit unit = next_utf8_unit(text.substr(at));
    if (at + unit.size > kLongest) break;
    const bool shown =
        unit.status == Utf8Status::kValid && may_be_shown(decode_valid_utf8(text.data() + at).code_point);
    out += shown ? text.substr(at, unit.size) : "?";
    at += unit.size;
  }
  if (at < text.size()) out += "...";
  return out;
}

uint64_t stored_bytes(std::string_view what, DType type, const Shape& shape) {
  const DTypeInfo& t = info(type);
  // Zero values cannot hide an overflow of the other dimensions: each is multiplied as at least one.
  std::optional<uint64_t> values = 1;
  bool empty = false;
  for (size_t i = 0; i < shape.rank() && values; ++i) {
    empty = empty || shape[i] == 0;
    values = checked_mul<uint64_t>(*values, std::max<uint64_t>(shape[i], 1));
  }
  const std::optional<uint64_t> bytes = values ? checked_mul<uint64_t>(*values, t.block_bytes) : std::nullopt;
  if (!bytes || *bytes > uint64_t{1} << 62) throw Error(cat(what, ": shape ", shape, " is larger than any memory"));
  if (shape.back() % t.block_size != 0)
    throw Error(cat(what, ": expected rows of whole ", t.name, " blocks of ", t.block_size, " values, found ", shape));
  return empty ? 0 : *values / t.block_size * t.block_bytes;
}

namespace {

size_t element_alignment(DType type) {
  const DTypeInfo& t = info(type);
  return t.block_size == 1 ? t.block_bytes : 1;  // kernels read blocks byte by byte
}

}  // namespace

Located Located::rows(size_t begin, size_t n) const {
  const Shape& whole = shape();
  check(whole.rank() >= 1 && range_fits(begin, n, whole[0]), "rows beyond a stored tensor");
  std::array<size_t, Shape::kMaxRank> dims{};
  for (size_t i = 0; i < whole.rank(); ++i) dims[i] = whole[i];
  dims[0] = n;
  const uint64_t stride = whole[0] ? range.info.size_bytes / whole[0] : 0;
  Located part = *this;
  part.range.offset += begin * stride;
  part.range.info.size_bytes = n * stride;
  part.range.info.shape = Shape(std::span<const size_t>(dims.data(), whole.rank()));
  return part;
}

Located Located::element(size_t index) const {
  check(shape().rank() >= 2, "an element of what is no stack");
  Located part = rows(index, 1);
  std::array<size_t, Shape::kMaxRank> dims{};
  for (size_t i = 1; i < shape().rank(); ++i) dims[i - 1] = shape()[i];
  part.range.info.shape = Shape(std::span<const size_t>(dims.data(), shape().rank() - 1));
  return part;
}

Tensor Located::tensor() const {
  const TensorInfo& t = range.info;
  check(range_fits(range.offset, t.size_bytes, file->bytes().size()), "a tensor's range was not checked");
  // Mapped memory is read-only; Tensor has no const form, and nobody writes to a checkpoint's tensors.
  auto* data = const_cast<std::byte*>(file->bytes().data() + range.offset);
  if (reinterpret_cast<uintptr_t>(data) % element_alignment(t.dtype) != 0) {
    Tensor copy = make_tensor(t.dtype, t.shape);
    if (t.size_bytes) std::memcpy(copy.bytes(), data, t.size_bytes);
    return copy;
  }
  return {t.dtype, t.shape, std::shared_ptr<std::byte>(file, data)};
}

void refuse_overlaps(std::string_view what, std::span<const StoredRange*> ranges) {
  std::sort(ranges.begin(), ranges.end(), [](const StoredRange* a, const StoredRange* b) {
    return a->offset != b->offset ? a->offset < b->offset : a->info.size_bytes < b->info.size_bytes;
  });
  for (size_t i = 1; i < ranges.size(); ++i)
    if (ranges[i]->offset < ranges[i - 1]->offset + ranges[i - 1]->info.size_bytes)
      throw Error(cat(what, ": tensors ", printable(ranges[i - 1]->info.name), " and ", printable(ranges[i]->info.name),
                      " overlap"));
}

}  // namespace fathom
