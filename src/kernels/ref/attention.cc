#include "kernels/ref/attention.h"

#include <algorithm>
#include <cstring>

#include "kernels/ref/attend.h"
#include "kernels/ref/quantize.h"
#include "tensor/float_types.h"

namespace fathom::ref {
namespace {

/// Keys of one kv head in a page, or values, or latent rows: where component j of position i lies (kernels.h).
struct Part {
  CacheType type;
  size_t d;
  bool panels;  // of 16 positions: keys of GQA

  size_t bytes() const { return kPagePositions * cache_bytes(type, d); }
  size_t element(size_t i, size_t j) const { return panels ? (i / 16 * d + j) * 16 + i % 16 : i * d + j; }
  /// In bytes from the part's start.
  size_t scale(size_t i, size_t j) const {
    const size_t n = cache_blocks(d), b = j / kCacheBlock;
    return kPagePositions * d + 4 * (panels ? (i / 16 * n + b) * 16 + i % 16 : i * n + b);
  }

  float load(const std::byte* part, size_t i, size_t j) const {
    if (type == CacheType::kF32) return read<float>(part + 4 * element(i, j));
    if (type == CacheType::kBF16) return f32_from_bf16(read<uint16_t>(part + 2 * element(i, j)));
    return static_cast<float>(read<int8_t>(part + element(i, j))) * read<float>(part + scale(i, j));
  }

  void store(std::byte* part, size_t i, const float* row) const {
    if (type == CacheType::kQ8) return store_q8(part, i, row);
    for (size_t j = 0; j < d; ++j) {
      if (type == CacheType::kF32)
        write(part + 4 * element(i, j), row[j]);
      else
        write(part + 2 * element(i, j), bf16_from_f32(row[j]));
    }
  }

 private:
  template <class T>
  static T read(const std::byte* p) {
    T x;
    std::memcpy(&x, p, sizeof(T));
    return x;
  }
  template <class T>
  static void write(std::byte* p, T x) {
    std::memcpy(p, &x, sizeof(T));
  }

  void store_q8(std::byte* part, size_t i, const float* row) const {
    for (size_t begin = 0; begin < d; begin += kCacheBlock) {
      const size_t n = std::min(kCacheBlock, d - begin);
      int8_t q[kCacheBlock];
      write(part + scale(i, begin), quantize_block(q, row + begin, n));
      for (size_t j = 0; j < n; ++j) write(part + element(i, begin + j), q[j]);
    }
  }
};

}  // namespace

void store_kv(const KvPages& kv, size_t position, const float* k, const float* v, size_t kv_heads, size_t d) {
  std::byte* page = kv.pages[position / kPagePositions];
  const size_t i = position % kPagePositions;
  const Part keys{kv.type, d, true}, values{kv.type, d, false};
  for (size_t h = 0; h < kv_heads; ++h) {
    keys.store(page + kv.key_offset + h * keys.bytes(), i, k + h * d);
    values.store(page + kv.value_offset + h * values.bytes(), i, v + h * d);
  }
}

void store_latent(const KvPages& kv, size_t position, const float* row, size_t width) {
  const Part rows{kv.type, width, false};
  rows.store(kv.pages[position / kPagePositions] + kv.key_offset, position % kPagePositions, row);
}

namespace {

/// Reads components of keys and values as attend.h wants them.
struct Gqa {
  const KvPages& kv;
  size_t head;
  Part keys, values;

  Gqa(const KvPages& pages, size_t kv_head, size_t d)
      : kv(pages), head(kv_head), keys{pages.type, d, true}, values{pages.type, d, false} {}
  float key(size_t block, size_t i, size_t j) const {
    return keys.load(kv.pages[block] + kv.key_offset + head * keys.bytes(), i, j);
  }
  float value(size_t block, size_t i, size_t j) const {
    return values.load(kv.pages[block] + kv.value_offset + head * values.bytes(), i, j);
  }
};
struct Mla {
  const KvPages& kv;
  Part rows;

  Mla(const KvPages& pages, size_t width) : kv(pages), rows{pages.type, width, false} {}
  float key(size_t block, size_t i, size_t j) const { return rows.load(kv.pages[block] + kv.key_offset, i, j); }
  float value(size_t block, size_t i, size_t j) const { return key(block, i, j); }
};

template <class Cache>
void attend_heads(float* out, const float* q, size_t heads, size_t width, size_t d, size_t n, float scale,
                  const Cache& cache) {
  for (size_t h = 0; h < heads; ++h)
    attend(
        out + h * d, q + h * width, width, d, n, scale,
        [&](size_t block, size_t i, size_t j) { return cache.key(block, i, j); },
        [&](size_t block, size_t i, size_t j) { return cache.value(block, i, j); });
}

size_t positions_of(size_t n, size_t block) { return std::min(kPagePositions, n - block * kPagePositions); }

/// Parts [block][head]: 64 probabilities, the maximum, the sum.
constexpr size_t kPart = kPagePositions + 2;

template <class Cache>
void weigh_heads(float* parts, const float* q, size_t heads, size_t width, size_t n, float scale, size_t begin,
                 size_t end, const Cache& cache) {
  for (size_t b = begin; b < end; ++b)
    for (size_t h = 0; h < heads; ++h) {
      float* p = parts + (b * heads + h) * kPart;
      const BlockSums<float> sums =
          weigh_block(p, q + h * width, width, b, positions_of(n, b), scale,
                      [&](size_t block, size_t i, size_t j) { return cache.key(block, i, j); });
      p[kPagePositions] = sums.m, p[kPagePositions + 1] = sums.l;
    }
}

template <class Cache>
void sum_heads(float* out, const float* parts, size_t heads, size_t d, size_t n, size_t begin, size_t end,
               const Cache& cache) {
  for (size_t h = 0; h < heads; ++h) {
    Running<float> run;
    for (size_t b = 0; b * kPagePositions < n; ++b) {
      const float* p = parts + (b * heads + h) * kPart;
      add_block(run, out + h * d, p, {p[kPagePositions], p[kPagePositions + 1]}, b, positions_of(n, b), begin, end,
                [&](size_t block, size_t i, size_t j) { return cache.value(block, i, j); });
    }
    divide(run, out + h * d, begin, end);
  }
}

}  // namespace

void attention(float* out, const float* q, size_t group, size_t d, const KvPages& kv, size_t kv_head, size_t n,
               float scale, float* /*scratch*/) {
  attend_heads(out, q, group, d, d, n, scale, Gqa(kv, kv_head, d));
}
void attention_mla(float* out, const float* q, size_t heads, size_t latent, size_t rope, const KvPages& kv, size_t n,
                   float scale, float* /*scratch*/) {
  attend_heads(out, q, heads, latent + rope, latent, n, scale, Mla(kv, latent + rope));
}

void attention_weights(float* parts, const float* q, size_t group, size_t d, const KvPages& kv, size_t kv_head,
                       size_t n, float scale, size_t begin, size_t end) {
  weigh_heads(parts, q, group, d, n, scale, begin, end, Gqa(kv, kv_head, d));
}
void attention_values(float* out, const float* parts, size_t group, size_t d, const KvPages& kv, size_t kv_head,
                      size_t n, size_t begin, size_t end, float* /*scratch*/) {
  sum_heads(out, parts, group, d, n, begin, end, Gqa(kv, kv_head, d));
}
void attention_mla_weights(float* parts, const float* q, size_t heads, size_t latent, size_t rope, const KvPages& kv,
                           size_t n, float scale, size_t begin, size_t end, float* /*scratch*/) {
  weigh_heads(parts, q, heads, latent + rope, n, scale, begin, end, Mla(kv, latent + rope));
}
void attention_mla_values(float* out, const float* parts, size_t heads, size_t latent, size_t rope, const KvPages& kv,
                          size_t n, size_t begin, size_t end, float* /*scratch*/) {
  sum_heads(out, parts, heads, latent, n, begin, end, Mla(kv, latent + rope));
}

}  // namespace fathom::ref
