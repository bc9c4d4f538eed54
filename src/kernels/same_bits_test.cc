// The bits of spec/numerics.md on every processor: hashes of what the kernels gave where this was written (x86-64). An
// emulated or real ARM, another compiler, char without a sign or a contracted multiply-add must give the same.
#include <gtest/gtest.h>

#include <array>

#include "base/error.h"
#include "kernels/kernels_testing.h"

namespace fathom {
namespace {

using testing::random_bytes;

/// Numbers in -4..4 by operations that are exact or rounded once, for the C library's log and cos may differ.
std::vector<float> portable_floats(size_t n, uint64_t seed) {
  std::vector<float> out;
  for (const uint8_t b : random_bytes(n, seed)) out.push_back((static_cast<float>(b) - 127.5f) / 32.1f);
  return out;
}

/// FNV-1a over the bytes.
template <class T>
uint64_t hash_of(const std::vector<T>& values, uint64_t hash = 0xcbf29ce484222325u) {
  const auto* bytes = reinterpret_cast<const unsigned char*>(values.data());
  for (size_t i = 0; i < values.size() * sizeof(T); ++i) hash = (hash ^ bytes[i]) * 0x100000001b3u;
  return hash;
}

constexpr size_t kRows = 3, kOutputs = 16, kValues = 512;

uint64_t products(const Kernels& k, bool int8) {
  uint64_t hash = hash_of(std::vector<float>{});
  const std::vector<float> x = portable_floats(kRows * kValues, 1);
  for (const DType type : int8 ? testing::int8_types() : testing::weight_types()) {
    testing::TestWeight w(type, kOutputs, kValues, 2 + static_cast<uint64_t>(type));
    for (size_t i = 0; i < w.scales.size(); ++i) w.scales[i] = 1.1f + static_cast<float>(i);
    std::vector<float> y(kRows * kOutputs);
    if (int8)
      k.linear_int8(y.data(), kOutputs, w.view, 0, 1, testing::TestRows(k, x, kRows, kValues, int8_block(type)).view,
                    kRows);
    else
      k.linear_exact(y.data(), kOutputs, w.view, 0, 1, x.data(), kValues, kRows);
    hash = hash_of(y, hash);
  }
  return hash;
}

uint64_t rows(const Kernels& k) {
  const std::vector<float> x = portable_floats(kValues, 3), w = portable_floats(kValues, 4);
  std::vector<float> y(kValues), c(32), s(32);
  uint64_t hash = hash_of(y);
  k.rms_norm(y.data(), x.data(), w.data(), 1, kValues - 5, 1e-6f), hash = hash_of(y, hash);
  k.silu_mul(y.data(), x.data(), w.data(), kValues), hash = hash_of(y, hash);
  k.softmax(y.data(), x.data(), kValues - 7), hash = hash_of(y, hash);
  k.rope_angles(c.data(), s.data(), w.data(), 32, 12345.0f, 1.1f), hash = hash_of(c, hash_of(s, hash));
  y[0] = k.log_sum_exp(x.data(), kValues);
  std::vector<uint16_t> bf16(kValues);
  k.round_bf16(bf16.data(), x.data(), kValues);
  return hash_of(bf16, hash_of(y, hash));
}

uint64_t attention(const Kernels& k, CacheType type) {
  constexpr size_t kPositions = 70, kDims = 48, kGroup = 3;
  const size_t bytes = kPagePositions * cache_bytes(type, kDims);
  std::vector<std::byte> first(2 * bytes), second(2 * bytes);
  std::array<std::byte*, 2> pages = {first.data(), second.data()};
  const KvPages kv = {pages.data(), 0, bytes, type};
  const std::vector<float> q = portable_floats(kGroup * kDims, 5);
  for (size_t p = 0; p < kPositions; ++p)
    k.store_kv(kv, p, portable_floats(kDims, 2 * p + 6).data(), portable_floats(kDims, 2 * p + 7).data(), 1, kDims);
  std::vector<float> out(kGroup * kDims), scratch(attention_scratch(kGroup, kDims));
  k.attention(out.data(), q.data(), kGroup, kDims, kv, 0, kPositions, 0.1f, scratch.data());
  return hash_of(out);
}

TEST(SameBits, OnEveryProcessor) {
  for (const Kernels* k : usable_kernels()) {
    EXPECT_EQ(products(*k, false), 0x5843112bc817a4e7u) << k->name;
    EXPECT_EQ(products(*k, true), 0xe8b9229dd37dfbd7u) << k->name;
    EXPECT_EQ(rows(*k), 0xe774835745b0678cu) << k->name;
    EXPECT_EQ(attention(*k, CacheType::kF32), 0xdebc0bbdb273cb3du) << k->name;
    EXPECT_EQ(attention(*k, CacheType::kBF16), 0xa7195cad6992f999u) << k->name;
    EXPECT_EQ(attention(*k, CacheType::kQ8), 0xc41758bf1760af5cu) << k->name;
  }
}

}  // namespace
}  // namespace fathom
