// A tensor: type, shape and a shared piece of memory, always contiguous and row-major. Copying one copies the handle.
// Memory comes from an Allocator (heap or arena) or belongs to a mapped file. Reading is thread-safe, writing is the
// writer's business.
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <ostream>
#include <span>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "tensor/dtype.h"

namespace fathom {

/// Up to 4 dimensions, outermost first (as PyTorch and safetensors write them).
class Shape {
 public:
  static constexpr size_t kMaxRank = 4;
  Shape() = default;
  Shape(std::initializer_list<size_t> dims);
  explicit Shape(std::span<const size_t> dims);  // at most kMaxRank
  size_t rank() const { return rank_; }
  size_t operator[](size_t i) const { return dims_[i]; }
  size_t back() const { return rank_ ? dims_[rank_ - 1] : 1; }
  /// Product of all dimensions; outside data is checked for overflow before it becomes a Shape.
  size_t count() const;
  bool operator==(const Shape& other) const = default;

 private:
  std::array<size_t, kMaxRank> dims_{};
  size_t rank_ = 0;
};
std::ostream& operator<<(std::ostream& out, const Shape& shape);

enum class Device : uint8_t { kCpu, kCuda };

class Tensor {
 public:
  Tensor() = default;
  Tensor(DType dtype, Shape shape, std::shared_ptr<std::byte> data, Device device = Device::kCpu)
      : dtype_(dtype), device_(device), shape_(shape), data_(std::move(data)) {}

  bool defined() const { return data_ != nullptr; }
  DType dtype() const { return dtype_; }
  Device device() const { return device_; }
  const Shape& shape() const { return shape_; }
  size_t dim(size_t i) const { return shape_[i]; }
  size_t count() const { return shape_.count(); }
  size_t size_bytes() const;
  /// Rows if the last dimension is a row's length.
  size_t rows() const { return shape_.back() ? count() / shape_.back() : 0; }

  std::byte* bytes() const { return data_.get(); }
  /// The values; T must be the stored type. Kernels get pointers only through here.
  template <class T>
  T* data() const;
  template <class T>
  std::span<T> span() const {
    return {data<T>(), count()};
  }

  /// The same memory with another shape of the same count.
  Tensor reshaped(Shape shape) const;
  /// Rows [begin, begin + n) of the outermost dimension, sharing memory.
  Tensor slice(size_t begin, size_t n) const;
  /// Keeps the memory alive without the tensor.
  const std::shared_ptr<std::byte>& owner() const { return data_; }

 private:
  DType dtype_ = DType::kF32;
  Device device_ = Device::kCpu;
  Shape shape_;
  std::shared_ptr<std::byte> data_;
};

template <class T>
constexpr bool holds(DType dtype) {
  if constexpr (std::is_same_v<T, float>)
    return dtype == DType::kF32;
  else if constexpr (std::is_same_v<T, double>)
    return dtype == DType::kF64;
  else if constexpr (std::is_same_v<T, int32_t>)
    return dtype == DType::kI32;
  else if constexpr (std::is_same_v<T, int64_t>)
    return dtype == DType::kI64;
  else if constexpr (std::is_same_v<T, int8_t>)
    return dtype == DType::kI8;
  else if constexpr (std::is_same_v<T, uint16_t>)
    return dtype == DType::kBF16 || dtype == DType::kF16;
  else
    return sizeof(T) == 1;
}

template <class T>
T* Tensor::data() const {
  check(holds<std::remove_const_t<T>>(dtype_), "tensor read as another type");
  return reinterpret_cast<T*>(data_.get());
}

/// Where new tensors live.
class Allocator {
 public:
  virtual ~Allocator() = default;
  /// Memory for `size` bytes, 64-byte aligned, not initialised.
  virtual std::shared_ptr<std::byte> allocate(size_t size) = 0;
  Tensor make(DType dtype, const Shape& shape);
};

/// Each tensor its own, freed with its last handle.
class HeapAllocator final : public Allocator {
 public:
  std::shared_ptr<std::byte> allocate(size_t size) override;
};

/// Scratch for inference: a bump pointer over chunks that are kept. Tensors do not own their memory: they are dead
/// after the next reset(). A steady state allocates nothing. One thread.
class Arena final : public Allocator {
 public:
  std::shared_ptr<std::byte> allocate(size_t size) override;
  void reset();
  size_t capacity_bytes() const;

 private:
  struct Chunk {
    std::shared_ptr<std::byte> data;
    size_t size = 0;
  };
  std::vector<Chunk> chunks_;
  size_t chunk_ = 0, used_ = 0;
};

/// A tensor from the heap, not initialised / zeroed / with a copy of values.
Tensor make_tensor(DType dtype, const Shape& shape);
Tensor zeros(DType dtype, const Shape& shape);
Tensor from_values(std::span<const float> values, const Shape& shape);
Tensor from_ids(std::span<const int32_t> ids);
/// The ids themselves, which the caller keeps for as long as the tensor is read.
Tensor view_of_ids(std::span<const int32_t> ids);

/// Throws Error "tensor <name>: expected shape ..., found ...".
void require_shape(std::string_view name, const Tensor& t, const Shape& want);

}  // namespace fathom
