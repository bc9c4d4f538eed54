// Attention and the KV pages: every table equals ref bit for bit, and ref agrees with the naive formula in double.
#include <gtest/gtest.h>

#include "kernels/backend.h"
#include "kernels/kernels_testing.h"
#include "tensor/float_types.h"

namespace fathom {
namespace {

using testing::random_floats;
using testing::same_bits;

constexpr CacheType kCacheTypes[] = {CacheType::kF32, CacheType::kBF16, CacheType::kQ8};

/// Pages for n positions, filled with NaN patterns; keys first, then values. A spare byte range shifts the parts.
struct TestPages {
  TestPages(size_t n, size_t part_bytes, CacheType type) : bytes((n + 63) / 64 * (2 * part_bytes + 16), 0xff) {
    for (size_t p = 0; p < (n + 63) / 64; ++p)
      pages.push_back(reinterpret_cast<std::byte*>(bytes.data() + p * (2 * part_bytes + 16)));
    view = {pages.data(), 4, part_bytes + 8, type};
  }
  std::vector<uint8_t> bytes;
  std::vector<std::byte*> pages;
  KvPages view;
};

TestPages gqa_pages(const Kernels& k, size_t n, size_t kv_heads, size_t d, CacheType type, std::vector<float>& keys,
                    std::vector<float>& values, float size = 1) {
  TestPages pages(n, 64 * kv_heads * cache_bytes(type, d), type);
  keys = random_floats(n * kv_heads * d, 11), values = random_floats(n * kv_heads * d, 12);
  for (float& x : keys) x *= size;
  for (size_t i = 0; i < n; ++i)
    k.store_kv(pages.view, i, keys.data() + i * kv_heads * d, values.data() + i * kv_heads * d, kv_heads, d);
  return pages;
}

TEST(Attention, EqualsRefForEveryShape) {
  for (const CacheType type : kCacheTypes)
    for (const size_t group : {1, 2, 3, 4, 6, 7, 8, 13})
      for (const size_t d : {4, 16, 24, 64, 80, 128})
        for (const size_t n : {0, 1, 15, 16, 17, 63, 64, 65, 130, 200}) {
          const size_t kv_heads = 2;
          std::vector<float> keys, values;
          const TestPages pages = gqa_pages(ref_kernels(), n, kv_heads, d, type, keys, values, n % 2 ? 1.0f : 9.0f);
          const std::vector<float> q = random_floats(group * d, n + d);
          const auto run = [&](const Kernels& k) {
            std::vector<float> out(group * d + 1, -7.0f), scratch(attention_scratch(group, d));
            k.attention(out.data(), q.data(), group, d, pages.view, 1, n, 0.3f, scratch.data());
            return out;
          };
          const std::vector<float> want = run(ref_kernels());
          for (const Kernels* k : testing::other_tables())
            ASSERT_TRUE(same_bits(run(*k), want)) << k->name << " group=" << group << " d=" << d << " n=" << n;
        }
}

TEST(Attention, MlaEqualsRefForEveryShape) {
  for (const CacheType type : kCacheTypes)
    for (const size_t heads : {1, 3, 16, 17, 20})
      for (const auto& shape : {std::pair<size_t, size_t>{4, 2}, {16, 8}, {33, 5}, {64, 16}, {96, 64}})
        for (const size_t n : {0, 1, 7, 8, 16, 33, 64, 65, 150}) {
          const size_t latent = shape.first, rope = shape.second, width = latent + rope;
          TestPages pages(n, 64 * cache_bytes(type, width), type);
          const std::vector<float> rows = random_floats(n * width, 5), q = random_floats(heads * width, n);
          for (size_t i = 0; i < n; ++i) ref_kernels().store_latent(pages.view, i, rows.data() + i * width, width);
          const auto run = [&](const Kernels& k) {
            std::vector<float> out(heads * latent + 1, -7.0f), scratch(attention_mla_scratch(heads, latent, rope));
            k.attention_mla(out.data(), q.data(), heads, latent, rope, pages.view, n, 0.4f, scratch.data());
            return out;
          };
          const std::vector<float> want = run(ref_kernels());
          for (const Kernels* k : testing::other_tables())
            ASSERT_TRUE(same_bits(run(*k), want))
                << k->name << " heads=" << heads << " latent=" << latent << " n=" << n;
        }
}

/// Weights of some blocks and components of the outputs by different calls, in any order: the same bits.
TEST(Attention, InTwoPassesItIsTheSame) {
  for (const Kernels* k : usable_kernels())
    for (const CacheType type : kCacheTypes)
      for (const size_t n : {1, 64, 65, 200, 330})
        for (const size_t heads : {1, 6, 16}) {
          const size_t d = 72, blocks = (n + 63) / 64, kv_heads = 2;
          std::vector<float> keys, values, q = random_floats(heads * (d + 8), n);
          const TestPages pages = gqa_pages(ref_kernels(), n, kv_heads, d, type, keys, values);
          std::vector<float> want(heads * d + 1, -7.0f), out = want, parts(blocks * attention_part(16)),
                                                         scratch(attention_scratch(heads, d));
          k->attention(want.data(), q.data(), heads, d, pages.view, 1, n, 0.3f, scratch.data());
          for (size_t b = blocks; b-- > 0;)
            k->attention_weights(parts.data(), q.data(), heads, d, pages.view, 1, n, 0.3f, b, b + 1);
          for (const auto& [begin, end] : {std::pair<size_t, size_t>{32, 72}, {0, 16}, {16, 32}})
            k->attention_values(out.data(), parts.data(), heads, d, pages.view, 1, n, begin, end, scratch.data());
          ASSERT_TRUE(same_bits(out, want)) << k->name << " heads=" << heads << " n=" << n;

          const size_t latent = d - 8, rope = 16;
          TestPages latents(n, 64 * cache_bytes(type, d + 8), type);
          const std::vector<float> rows = random_floats(n * (d + 8), 5);
          for (size_t i = 0; i < n; ++i) ref_kernels().store_latent(latents.view, i, rows.data() + i * (d + 8), d + 8);
          scratch.resize(attention_mla_scratch(16, latent, rope));
          want.assign(heads * latent + 1, -7.0f), out = want;
          k->attention_mla(want.data(), q.data(), heads, latent, rope, latents.view, n, 0.4f, scratch.data());
          for (size_t b = 0; b < blocks; b += 2)
            k->attention_mla_weights(parts.data(), q.data(), heads, latent, rope, latents.view, n, 0.4f, b,
                                     std::min(blocks, b + 2), scratch.data());
          for (const auto& [begin, end] : {std::pair<size_t, size_t>{48, 64}, {0, 48}})
            k->attention_mla_values(out.data(), parts.data(), heads, latent, rope, latents.view, n, begin, end,
                                    scratch.data());
          ASSERT_TRUE(same_bits(out, want)) << k->name << " over latents, heads=" << heads << " n=" << n;
        }
}

/// Threads without a row of their own share the long ones; no bit depends on their number.
TEST(Attention, ThreadsShareRowsWithoutChangingThem) {
  const size_t n = 700, heads = 6, kv_heads = 2, d = 40;
  std::vector<float> keys, values;
  const TestPages pages = gqa_pages(best_kernels(), n, kv_heads, d, CacheType::kBF16, keys, values);
  const std::vector<SequenceRows> rows = {{0, 1, 20, pages.pages.data()}, {1, 2, n - 2, pages.pages.data()}};
  const LayerCache layer{pages.view.key_offset, pages.view.value_offset, CacheType::kBF16};
  const Tensor q = from_values(random_floats(3 * heads * d, 9), {3, heads * d});
  const size_t latent = 32, width = 40, many = 20;
  TestPages latents(n, 64 * cache_bytes(CacheType::kBF16, width), CacheType::kBF16);
  const std::vector<float> latent_rows = random_floats(n * width, 5);
  for (size_t i = 0; i < n; ++i) best_kernels().store_latent(latents.view, i, latent_rows.data() + i * width, width);
  const std::vector<SequenceRows> latent_row = {{0, 1, n - 1, latents.pages.data()}};
  const LayerCache latent_layer{latents.view.key_offset, 0, CacheType::kBF16};
  const Tensor latent_q = from_values(random_floats(many * width, 9), {1, many * width});
  std::vector<float> want, want_mla;
  for (const size_t threads : {1, 2, 3, 8, 16}) {
    const std::unique_ptr<Backend> backend = make_cpu_backend(threads);
    const Tensor out = zeros(DType::kF32, q.shape()), out_mla = zeros(DType::kF32, {1, many * latent});
    backend->attention(out, q, rows, layer, heads, kv_heads, 0.2f);
    backend->attention_mla(out_mla, latent_q, latent_row, latent_layer, many, latent, 0.2f);
    const std::vector<float> got(out.data<float>(), out.data<float>() + out.count()),
        got_mla(out_mla.data<float>(), out_mla.data<float>() + out_mla.count());
    if (threads == 1) want = got, want_mla = got_mla;
    EXPECT_TRUE(same_bits(got, want)) << threads << " threads";
    EXPECT_TRUE(same_bits(got_mla, want_mla)) << threads << " threads, over latents";
  }
}

/// Infinities, NaN, subnormals and huge values, in the cache as in the queries.
TEST(Attention, EqualsRefForWildValues) {
  for (const CacheType type : kCacheTypes)
    for (const size_t seed : {1, 2, 3, 4}) {
      const size_t d = 72, group = 5, n = 70, width = 48;
      TestPages pages(n, 64 * cache_bytes(type, d), type);
      for (size_t i = 0; i < n; ++i) {
        const std::vector<float> k = testing::test_activations(d, seed + 10 * i, i == 40 && seed > 2);
        const std::vector<float> v = testing::test_activations(d, seed + 10 * i + 5, i == 66);
        ref_kernels().store_kv(pages.view, i, k.data(), v.data(), 1, d);
      }
      const std::vector<float> q = testing::test_activations(group * d, seed, seed == 4);
      const auto run = [&](const Kernels& k) {
        std::vector<float> out(group * d), scratch(attention_scratch(group, d));
        k.attention(out.data(), q.data(), group, d, pages.view, 0, n, 0.3f, scratch.data());
        return out;
      };
      const auto run_mla = [&](const Kernels& k) {  // the keys' part, taken for latent rows
        std::vector<float> out(group * 32), scratch(attention_mla_scratch(group, 32, 16));
        k.attention_mla(out.data(), q.data(), group, 32, width - 32, pages.view, n, 0.3f, scratch.data());
        return out;
      };
      for (const Kernels* k : testing::other_tables()) {
        EXPECT_TRUE(same_bits(run(*k), run(ref_kernels()))) << k->name << " seed=" << seed;
        EXPECT_TRUE(same_bits(run_mla(*k), run_mla(ref_kernels()))) << k->name << " seed=" << seed;
      }
    }
}

/// Rows of d values as the cache gives them back.
std::vector<float> as_stored(std::vector<float> rows, size_t d, CacheType type) {
  if (type == CacheType::kBF16)
    for (float& x : rows) x = f32_from_bf16(bf16_from_f32(x));
  if (type != CacheType::kQ8) return rows;
  for (size_t row = 0; row < rows.size(); row += d)
    for (size_t begin = row; begin < row + d; begin += 32) {
      const size_t end = std::min(begin + 32, row + d);
      float a = 0;
      for (size_t i = begin; i < end; ++i) a = std::max(a, std::fabs(rows[i]));
      for (size_t i = begin; i < end; ++i) rows[i] = std::nearbyint(rows[i] * (127 / a)) * (a / 127);
    }
  return rows;
}

/// Softmax of all scores at once, in double.
void naive(std::vector<double>& out, const float* q, size_t key_width, size_t d, size_t n, double scale, auto key,
           auto value) {
  std::vector<double> p(n);
  double most = -INFINITY, sum = 0;
  for (size_t i = 0; i < n; ++i) {
    for (size_t j = 0; j < key_width; ++j) p[i] += static_cast<double>(q[j]) * key(i, j);
    most = std::max(most, p[i] *= scale);
  }
  for (double& x : p) sum += x = std::exp(x - most);
  out.assign(d, 0.0);
  for (size_t j = 0; j < d; ++j)
    for (size_t i = 0; i < n; ++i) out[j] += p[i] / sum * value(i, j);
}

TEST(Attention, RefAgreesWithTheNaiveFormula) {
  const size_t kv_heads = 3, d = 40, group = 2;
  for (const CacheType type : kCacheTypes)
    for (const size_t n : {1, 64, 65, 300}) {
      std::vector<float> keys, values;
      const TestPages pages = gqa_pages(ref_kernels(), n, kv_heads, d, type, keys, values);
      keys = as_stored(keys, d, type), values = as_stored(values, d, type);
      for (size_t kv_head = 0; kv_head < kv_heads; ++kv_head) {
        const std::vector<float> q = random_floats(group * d, n);
        std::vector<float> out(group * d), scratch(attention_scratch(group, d));
        ref_kernels().attention(out.data(), q.data(), group, d, pages.view, kv_head, n, 0.2f, scratch.data());
        for (size_t h = 0; h < group; ++h) {
          const auto at = [&](const std::vector<float>& x) {
            return [&](size_t i, size_t j) { return static_cast<double>(x[(i * kv_heads + kv_head) * d + j]); };
          };
          std::vector<double> want;
          naive(want, q.data() + h * d, d, d, n, static_cast<double>(0.2f), at(keys), at(values));
          for (size_t j = 0; j < d; ++j) ASSERT_NEAR(out[h * d + j], want[j], 2e-6) << "n=" << n;
        }
      }
    }
}

TEST(Attention, MlaRefAgreesWithTheNaiveFormula) {
  const size_t heads = 5, latent = 36, rope = 8, width = latent + rope, n = 150;
  for (const CacheType type : kCacheTypes) {
    TestPages pages(n, 64 * cache_bytes(type, width), type);
    std::vector<float> rows = random_floats(n * width, 5);
    const std::vector<float> q = random_floats(heads * width, 6);
    for (size_t i = 0; i < n; ++i) ref_kernels().store_latent(pages.view, i, rows.data() + i * width, width);
    rows = as_stored(rows, width, type);
    std::vector<float> out(heads * latent), scratch(attention_mla_scratch(heads, latent, rope));
    ref_kernels().attention_mla(out.data(), q.data(), heads, latent, rope, pages.view, n, 0.2f, scratch.data());
    const auto at = [&](size_t i, size_t j) { return static_cast<double>(rows[i * width + j]); };
    for (size_t h = 0; h < heads; ++h) {
      std::vector<double> want;
      naive(want, q.data() + h * width, width, latent, n, static_cast<double>(0.2f), at, at);
      for (size_t j = 0; j < latent; ++j) ASSERT_NEAR(out[h * latent + j], want[j], 2e-6);
    }
  }
}

/// The bytes of a page of type q8: kernels.h says where they lie.
TEST(Attention, Q8KeepsBlocksOf32WithTheirScales) {
  const size_t d = 36, position = 18;
  TestPages pages(64, 2 * 64 * cache_bytes(CacheType::kQ8, d), CacheType::kQ8);
  std::vector<float> k(2 * d), v(2 * d, 0x1p-101f);  // values below 2^-100 are stored as zeros
  for (size_t j = 0; j < 2 * d; ++j) k[j] = static_cast<float>(j) - 50;
  v[34] = INFINITY;
  ref_kernels().store_kv(pages.view, position, k.data(), v.data(), 2, d);
  const std::byte* keys = pages.pages[0] + pages.view.key_offset;
  const std::byte* values = pages.pages[0] + pages.view.value_offset;
  const auto scale = [](const std::byte* part, size_t i) {
    float x;
    std::memcpy(&x, part + 64 * d + 4 * i, 4);
    return x;
  };
  EXPECT_EQ(static_cast<int8_t>(keys[(d + 0) * 16 + 2]), -127);
  EXPECT_EQ(static_cast<int8_t>(keys[(d + 31) * 16 + 2]), -48);  // -19 * 127 / 50 = -48.26
  EXPECT_EQ(scale(keys, (1 * 2 + 0) * 16 + 2), 50.0f / 127);
  EXPECT_EQ(static_cast<int8_t>(keys[(d + 35) * 16 + 2]), -106);  // a short block of its own: -15 * 127 / 18
  EXPECT_EQ(scale(keys, (1 * 2 + 1) * 16 + 2), 18.0f / 127);
  const std::byte* second = keys + 64 * cache_bytes(CacheType::kQ8, d);
  EXPECT_EQ(scale(second, (1 * 2 + 0) * 16 + 2), 17.0f / 127);
  EXPECT_EQ(static_cast<int8_t>(values[position * d]), 0);
  EXPECT_EQ(scale(values, position * 2), 0.0f);
  EXPECT_EQ(static_cast<int8_t>(values[position * d + 34]), 0);
  EXPECT_TRUE(std::isnan(scale(values, position * 2 + 1)));
}

TEST(Attention, PositionsAfterTheQueryTakeNoPart) {
  const size_t d = 32, group = 4, n = 70;
  std::vector<float> keys, values;
  TestPages pages = gqa_pages(ref_kernels(), 128, 1, d, CacheType::kF32, keys, values);
  const TestPages fresh = gqa_pages(ref_kernels(), n, 1, d, CacheType::kF32, keys, values);
  keys = random_floats(128 * d, 11), values = random_floats(128 * d, 12);
  for (size_t i = 0; i < n; ++i)
    ref_kernels().store_kv(pages.view, i, keys.data() + i * d, values.data() + i * d, 1, d);
  for (size_t i = 0; i < n; ++i)
    ref_kernels().store_kv(fresh.view, i, keys.data() + i * d, values.data() + i * d, 1, d);
  const std::vector<float> q = random_floats(group * d, 3);
  for (const Kernels* k : usable_kernels()) {
    std::vector<float> a(group * d), b(group * d), scratch(attention_scratch(group, d));
    k->attention(a.data(), q.data(), group, d, pages.view, 0, n, 0.2f, scratch.data());
    k->attention(b.data(), q.data(), group, d, fresh.view, 0, n, 0.2f, scratch.data());
    EXPECT_TRUE(same_bits(a, b)) << k->name;
    EXPECT_FALSE(std::isnan(a[0]));
  }
}

TEST(Attention, AHeadComputesTheSameInAnyGroup) {
  const size_t d = 48, n = 100;
  std::vector<float> keys, values;
  const TestPages pages = gqa_pages(ref_kernels(), n, 1, d, CacheType::kBF16, keys, values);
  const std::vector<float> q = random_floats(11 * d, 3);
  for (const Kernels* k : usable_kernels()) {
    std::vector<float> all(11 * d), one(d), scratch(attention_scratch(11, d));
    k->attention(all.data(), q.data(), 11, d, pages.view, 0, n, 0.2f, scratch.data());
    for (size_t h = 0; h < 11; ++h) {
      k->attention(one.data(), q.data() + h * d, 1, d, pages.view, 0, n, 0.2f, scratch.data());
      EXPECT_EQ(testing::first_difference(one.data(), all.data() + h * d, d), d) << k->name;
    }
  }
}

TEST(Attention, NotANumberStaysInItsHead) {
  const size_t d = 16, n = 80;
  std::vector<float> keys, values;
  const TestPages pages = gqa_pages(ref_kernels(), n, 1, d, CacheType::kF32, keys, values);
  std::vector<float> q = random_floats(2 * d, 3);
  q[3] = NAN;
  for (const Kernels* k : usable_kernels()) {
    std::vector<float> out(2 * d), scratch(attention_scratch(2, d));
    k->attention(out.data(), q.data(), 2, d, pages.view, 0, n, 0.2f, scratch.data());
    for (size_t j = 0; j < d; ++j) {
      EXPECT_TRUE(std::isnan(out[j]));
      EXPECT_FALSE(std::isnan(out[d + j]));
    }
  }
}

TEST(Attention, StoringEqualsRefAndTouchesOnePositionOnly) {
  for (const CacheType type : kCacheTypes)
    for (const size_t position : {0, 15, 16, 63, 64, 100}) {
      const size_t d = 20, kv_heads = 3;
      const std::vector<float> k = testing::test_activations(kv_heads * d, 1), v = random_floats(kv_heads * d, 2);
      TestPages want(128, 64 * kv_heads * cache_bytes(type, d), type);
      ref_kernels().store_kv(want.view, position, k.data(), v.data(), kv_heads, d);
      ref_kernels().store_latent(want.view, (position + 1) % 128, k.data(), kv_heads * d);
      size_t changed = 0;
      for (const uint8_t byte : want.bytes) changed += byte != 0xff;
      EXPECT_LE(changed, 3 * kv_heads * cache_bytes(type, d));
      for (const Kernels* table : testing::other_tables()) {
        TestPages got(128, 64 * kv_heads * cache_bytes(type, d), type);
        table->store_kv(got.view, position, k.data(), v.data(), kv_heads, d);
        table->store_latent(got.view, (position + 1) % 128, k.data(), kv_heads * d);
        EXPECT_EQ(got.bytes, want.bytes) << table->name;
      }
    }
}

}  // namespace
}  // namespace fathom
