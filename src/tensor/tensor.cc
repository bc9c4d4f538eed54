#include "tensor/tensor.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <new>

namespace fathom {
namespace {

constexpr size_t kAlignment = 64;
constexpr size_t kMinChunk = size_t{1} << 20;

constexpr size_t kHugePage = size_t{2} << 20;

template <size_t alignment>
std::shared_ptr<std::byte> aligned_bytes(size_t size) {
  auto* data = static_cast<std::byte*>(::operator new (size, std::align_val_t{alignment}));
  return {data, [](std::byte* p) { ::operator delete (p, std::align_val_t{alignment}); }};
}

/// Large tensors lie in huge pages, where the system grants them: fewer misses of the TLB in long linear reads. The end
/// that fills no huge page has small ones, so no memory is lost.
std::shared_ptr<std::byte> heap_bytes(size_t size) {
  const size_t padded = (std::max<size_t>(size, 1) + kAlignment - 1) / kAlignment * kAlignment;
  if (padded < kHugePage) return aligned_bytes<kAlignment>(padded);
  std::shared_ptr<std::byte> data = aligned_bytes<kHugePage>(padded);
  ::madvise(data.get(), padded / kHugePage * kHugePage, MADV_HUGEPAGE);
  return data;
}

}  // namespace

Shape::Shape(std::initializer_list<size_t> dims) : Shape(std::span<const size_t>(dims.begin(), dims.size())) {}

Shape::Shape(std::span<const size_t> dims) : rank_(dims.size()) {
  check(dims.size() <= kMaxRank, "more than 4 dimensions");
  std::copy(dims.begin(), dims.end(), dims_.begin());
}

size_t Shape::count() const {
  size_t n = 1;
  for (size_t i = 0; i < rank_; ++i) n *= dims_[i];
  return n;
}

std::ostream& operator<<(std::ostream& out, const Shape& shape) {
  out << '[';
  for (size_t i = 0; i < shape.rank(); ++i) out << (i ? ", " : "") << shape[i];
  return out << ']';
}

size_t Tensor::size_bytes() const { return count() / info(dtype_).block_size * info(dtype_).block_bytes; }

Tensor Tensor::reshaped(Shape shape) const {
  check(shape.count() == count(), "reshape changes the number of values");
  return {dtype_, shape, data_, device_};
}

Tensor Tensor::slice(size_t begin, size_t n) const {
  check(shape_.rank() >= 1 && begin + n <= shape_[0], "slice beyond the tensor");
  std::array<size_t, Shape::kMaxRank> dims{};
  for (size_t i = 0; i < shape_.rank(); ++i) dims[i] = shape_[i];
  dims[0] = n;
  const size_t stride = shape_[0] ? size_bytes() / shape_[0] : 0;
  std::shared_ptr<std::byte> part(data_, data_.get() + begin * stride);
  return {dtype_, Shape(std::span<const size_t>(dims.data(), shape_.rank())), std::move(part), device_};
}

Tensor Allocator::make(DType dtype, const Shape& shape) {
  const DTypeInfo& type = info(dtype);
  return {dtype, shape, allocate(shape.count() / type.block_size * type.block_bytes)};
}

std::shared_ptr<std::byte> HeapAllocator::allocate(size_t size) { return heap_bytes(size); }

std::shared_ptr<std::byte> Arena::allocate(size_t size) {
  size = (std::max<size_t>(size, 1) + kAlignment - 1) / kAlignment * kAlignment;
  while (chunk_ < chunks_.size() && used_ + size > chunks_[chunk_].size) ++chunk_, used_ = 0;
  if (chunk_ == chunks_.size()) {
    const size_t chunk_size = std::max({size, kMinChunk, capacity_bytes() / 2});
    chunks_.push_back({heap_bytes(chunk_size), chunk_size});
    used_ = 0;
  }
  std::byte* data = chunks_[chunk_].data.get() + used_;
  used_ += size;
  return {std::shared_ptr<std::byte>(), data};  // no owner, so no control block
}

void Arena::reset() {
  if (chunks_.size() > 1) {  // one chunk of the whole size serves the next round
    const size_t total = capacity_bytes();
    chunks_.clear();
    chunks_.push_back({heap_bytes(total), total});
  }
  chunk_ = used_ = 0;
}

size_t Arena::capacity_bytes() const {
  size_t total = 0;
  for (const Chunk& c : chunks_) total += c.size;
  return total;
}

Tensor make_tensor(DType dtype, const Shape& shape) { return HeapAllocator().make(dtype, shape); }

Tensor zeros(DType dtype, const Shape& shape) {
  Tensor t = make_tensor(dtype, shape);
  std::memset(t.bytes(), 0, t.size_bytes());
  return t;
}

Tensor from_values(std::span<const float> values, const Shape& shape) {
  check(values.size() == shape.count(), "as many values as the shape has");
  Tensor t = make_tensor(DType::kF32, shape);
  if (!values.empty()) std::memcpy(t.bytes(), values.data(), values.size_bytes());
  return t;
}

Tensor from_ids(std::span<const int32_t> ids) {
  Tensor t = make_tensor(DType::kI32, {ids.size()});
  if (!ids.empty()) std::memcpy(t.bytes(), ids.data(), ids.size_bytes());
  return t;
}

Tensor view_of_ids(std::span<const int32_t> ids) {
  auto* bytes = reinterpret_cast<std::byte*>(const_cast<int32_t*>(ids.data()));
  return {DType::kI32, Shape{ids.size()}, std::shared_ptr<std::byte>(std::shared_ptr<std::byte>(), bytes)};
}

void require_shape(std::string_view name, const Tensor& t, const Shape& want) {
  if (!(t.shape() == want)) throw Error(cat("tensor ", name, ": expected shape ", want, ", found ", t.shape()));
}

}  // namespace fathom
