#include "kernels/ref/attention.h"

#include <algorithm>
#include <cstring>

#include "kernels/ref/rows.h"
#include "tensor/float_types.h"

namespace fathom::ref {
namespace {

float load(const std::byte* base, CacheType type, size_t i) {
  if (type == CacheType::kF32) {
    float x;
    std::memcpy(&x, base + 4 * i, 4);
    return x;
  }
  uint16_t bits;
  std::memcpy(&bits, base + 2 * i, 2);
  return f32_from_bf16(bits);
}

void store(std::byte* base, CacheType type, size_t i, float x) {
  if (type == CacheType::kF32) {
    std::memcpy(base + 4 * i, &x, 4);
  } else {
    const uint16_t bits = bf16_from_f32(x);
    std::memcpy(base + 2 * i, &bits, 2);
  }
}

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
  for (size_t h = 0; h < kv_heads; ++h)
    for (size_t j = 0; j < d; ++j) {
      store(page + kv.key_offset, kv.type, ((h * 4 + i / 16) * d + j) * 16 + i % 16, k[h * d + j]);
      store(page + kv.value_offset, kv.type, (h * kPagePositions + i) * d + j, v[h * d + j]);
    }
}

void store_latent(const KvPages& kv, size_t position, const float* row, size_t width) {
  std::byte* page = kv.pages[position / kPagePositions] + kv.key_offset;
  for (size_t j = 0; j < width; ++j) store(page, kv.type, position % kPagePositions * width + j, row[j]);
}

void attention(float* out, const float* q, size_t group, size_t d, const KvPages& kv, size_t kv_head, size_t n,
               float scale, float* scratch) {
  const auto key = [&](const std::byte* page, size_t i, size_t j) {
    return load(page + kv.key_offset, kv.type, ((kv_head * 4 + i / 16) * d + j) * 16 + i % 16);
  };
  const auto value = [&](const std::byte* page, size_t i, size_t j) {
    return load(page + kv.value_offset, kv.type, (kv_head * kPagePositions + i) * d + j);
  };
  for (size_t h = 0; h < group; ++h) attend(out + h * d, q + h * d, d, d, kv, n, scale, scratch, key, value);
}

void attention_mla(float* out, const float* q, size_t heads, size_t latent, size_t rope, const KvPages& kv, size_t n,
                   float scale, float* scratch) {
  const size_t width = latent + rope;
  const auto row = [&](const std::byte* page, size_t i, size_t j) {
    return load(page + kv.key_offset, kv.type, i * width + j);
  };
  for (size_t h = 0; h < heads; ++h)
    attend(out + h * latent, q + h * width, width, latent, kv, n, scale, scratch, row, row);
}

}  // namespace fathom::ref
