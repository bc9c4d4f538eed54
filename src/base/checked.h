// Checked arithmetic for sizes, counts and offsets that come from outside. nullopt means: does not fit.
#pragma once
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <optional>

namespace fathom {

template <std::integral T>
std::optional<T> checked_add(T a, T b) {
  T out;
  if (__builtin_add_overflow(a, b, &out)) return std::nullopt;
  return out;
}

template <std::integral T>
std::optional<T> checked_mul(T a, T b) {
  T out;
  if (__builtin_mul_overflow(a, b, &out)) return std::nullopt;
  return out;
}

/// x rounded up to a multiple of align (a power of two).
template <std::unsigned_integral T>
std::optional<T> checked_align(T x, T align) {
  const std::optional<T> up = checked_add<T>(x, static_cast<T>(align - 1));
  if (!up) return std::nullopt;
  return static_cast<T>(*up & ~static_cast<T>(align - 1));
}

/// True if [offset, offset + size) lies within [0, total).
inline bool range_fits(uint64_t offset, uint64_t size, uint64_t total) {
  return offset <= total && size <= total - offset;
}

}  // namespace fathom
