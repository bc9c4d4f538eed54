// What attention reads of a KV page (kernels.h), sixteen values of any cache type as f32, for any S with sixteen f32
// lanes. S is private to the including file, so these templates are too. Pure functions, any thread.
#pragma once
#include <cstddef>
#include <cstdint>

#include "kernels/kernels.h"

namespace fathom::simd {

/// One kv head's part of a page: `bytes` are its values, of kQ8 with the scales behind them.
template <class S, CacheType type>
struct CachePart {
  using V = typename S::V;
  static constexpr size_t kBytes = type == CacheType::kF32 ? 4 : type == CacheType::kBF16 ? 2 : 1;
  const std::byte* bytes;
  size_t d;
  const std::byte* next;  ///< the same part of the page that will be read next: what is loaded here is fetched there

  /// 16 values from element i on, in the order of the page.
  [[gnu::always_inline]] V load(size_t i) const {
    __builtin_prefetch(next + i * kBytes, 0, 2);
    if constexpr (type == CacheType::kF32) return S::load(reinterpret_cast<const float*>(bytes) + i);
    if constexpr (type == CacheType::kBF16) return S::load_bf16(reinterpret_cast<const uint16_t*>(bytes) + i);
    if constexpr (type == CacheType::kQ8) return S::load_i8(reinterpret_cast<const int8_t*>(bytes) + i);
  }
  const float* scales() const { return reinterpret_cast<const float*>(bytes + kPagePositions * d); }
};

/// Keys [position / 16][d][16]: lanes are positions.
template <class S, CacheType type>
struct CacheKeys : CachePart<S, type> {
  [[gnu::always_inline]] typename S::V at(size_t panel, size_t j) const {
    const auto k = this->load((panel * this->d + j) * 16);
    if constexpr (type != CacheType::kQ8) return k;
    return S::mul(k, S::load(this->scales() + (panel * cache_blocks(this->d) + j / kCacheBlock) * 16));
  }
};

/// Values, or latent rows, [64][d]: lanes are the components j .. j + 15, j a multiple of 16.
template <class S, CacheType type>
struct CacheRows : CachePart<S, type> {
  [[gnu::always_inline]] typename S::V at(size_t i, size_t j) const {
    return scaled(this->load(i * this->d + j), i, j);
  }
  /// The first n <= 16 of them; nothing beyond is read.
  [[gnu::always_inline]] typename S::V at(size_t i, size_t j, size_t n) const {
    if (n == 16) return at(i, j);
    alignas(64) std::byte first[16 * Part::kBytes] = {};
    __builtin_memcpy(first, this->bytes + (i * this->d + j) * Part::kBytes, n * Part::kBytes);
    return scaled(Part{first, 0, first}.load(0), i, j);
  }

 private:
  using Part = CachePart<S, type>;
  [[gnu::always_inline]] typename S::V scaled(typename S::V v, size_t i, size_t j) const {
    if constexpr (type != CacheType::kQ8) return v;
    return S::mul(v, S::set1(this->scales()[i * cache_blocks(this->d) + j / kCacheBlock]));
  }
};

/// Calls f.template operator()<type>().
template <class F>
[[gnu::always_inline]] inline void with_cache_type(CacheType type, const F& f) {
  switch (type) {
    case CacheType::kF32: return f.template operator()<CacheType::kF32>();
    case CacheType::kBF16: return f.template operator()<CacheType::kBF16>();
    case CacheType::kQ8: return f.template operator()<CacheType::kQ8>();
  }
}

}  // namespace fathom::simd
