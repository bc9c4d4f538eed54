#include "kernels/ref/attention.h"

#include <algorithm>
#include <cstring>

#include "kernels/ref/quantize.h"
#include "kernels/ref/rows.h"
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

/// What a head has summed up so far.
struct Running {
  float m = 0, l = 0;
  bool empty = true;
};

/// One block of one head: scores s[count] become probabilities, values are summed into block_out and joined with out.
/// value(i, j): component j of position i's value.
template <class Value>
void add_block(Running& run, float* out, float* block_out, float* s, size_t count, size_t d, const Value& value) {
  const float m = row_max(s, count);
  for (size_t i = 0; i < count; ++i) s[i] = exp(s[i] - m);
  const float l = row_sum(s, count);
  for (size_t j = 0; j < d; ++j) {
    float o = 0;
    for (size_t i = 0; i < count; ++i) o = std::fma(s[i], value(i, j), o);
    block_out[j] = o;
  }
  if (run.empty) {
    run = {m, l, false};
    std::copy_n(block_out, d, out);
    return;
  }
  const float both = m > run.m ? m : run.m, fa = exp(run.m - both), fb = exp(m - both);
  run.m = both;
  run.l = run.l * fa + l * fb;
  for (size_t j = 0; j < d; ++j) out[j] = out[j] * fa + block_out[j] * fb;
}

/// One head over all its blocks. key(page, i, j): component j of key i in the page; value likewise.
template <class Key, class Value>
void attend(float* out, const float* q, size_t key_width, size_t d, const KvPages& kv, size_t n, float scale,
            float* block_out, const Key& key, const Value& value) {
  Running run;
  for (size_t begin = 0; begin < n; begin += kPagePositions) {
    const std::byte* page = kv.pages[begin / kPagePositions];
    const size_t count = std::min(kPagePositions, n - begin);
    float s[kPagePositions];
    for (size_t i = 0; i < count; ++i) {
      float acc = 0;
      for (size_t j = 0; j < key_width; ++j) acc = std::fma(q[j], key(page, i, j), acc);
      s[i] = acc * scale;
    }
    add_block(run, out, block_out, s, count, d, [&](size_t i, size_t j) { return value(page, i, j); });
  }
  for (size_t j = 0; j < d; ++j) out[j] = run.empty ? 0.0f : out[j] / run.l;
}

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

void attention(float* out, const float* q, size_t group, size_t d, const KvPages& kv, size_t kv_head, size_t n,
               float scale, float* scratch) {
  const Part keys{kv.type, d, true}, values{kv.type, d, false};
  const auto key = [&](const std::byte* page, size_t i, size_t j) {
    return keys.load(page + kv.key_offset + kv_head * keys.bytes(), i, j);
  };
  const auto value = [&](const std::byte* page, size_t i, size_t j) {
    return values.load(page + kv.value_offset + kv_head * values.bytes(), i, j);
  };
  for (size_t h = 0; h < group; ++h) attend(out + h * d, q + h * d, d, d, kv, n, scale, scratch, key, value);
}

void attention_mla(float* out, const float* q, size_t heads, size_t latent, size_t rope, const KvPages& kv, size_t n,
                   float scale, float* scratch) {
  const size_t width = latent + rope;
  const Part rows{kv.type, width, false};
  const auto row = [&](const std::byte* page, size_t i, size_t j) { return rows.load(page + kv.key_offset, i, j); };
  for (size_t h = 0; h < heads; ++h)
    attend(out + h * latent, q + h * width, width, latent, kv, n, scale, scratch, row, row);
}

}  // namespace fathom::ref
