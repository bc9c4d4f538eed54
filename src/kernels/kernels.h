// The contract of the kernels: loops over raw pointers, one thread, no allocation, no exception, any alignment, any
// n >= 0, sums in the order of spec/numerics.md. kernels/ref is the definition, every other table equals it by memcmp.
// Callers (kernels/cpu/backend.cc) have checked shapes, split the work over the pool, and own all scratch.
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>

#include "kernels/packed.h"
#include "tensor/dtype.h"

namespace fathom {

/// Rows of a weight that lie side by side: SIMD lanes run over outputs.
inline constexpr size_t kPanelRows = 16;
/// Positions of a KV page, and of a block of attention (spec/numerics.md 5 and 6).
inline constexpr size_t kPagePositions = 64;

/// A weight [O, K] in panels: panel p holds rows 16 p .. 16 p + 15, and in it block b of all 16 rows:
///   data + (p * (K / block_size) + b) * group_bytes(dtype).
/// Of types with an int8 form that is a packed group (packed.h), of others the rows' blocks as in the file, one after
/// the other. For f32, bf16, f16 and FP8 a block is one value: panels[O / 16][K][16]. Rows beyond O are made of zero
/// bytes.
struct WeightView {
  DType dtype = DType::kF32;
  const std::byte* data = nullptr;
  size_t O = 0, K = 0;
  /// F8_E4M3: scale of row o and column k is scale_inv[(o / 128) * ceil(K / 128) + k / 128]; value = f32(e4m3 * scale).
  const float* scale_inv = nullptr;

  size_t panels() const { return (O + kPanelRows - 1) / kPanelRows; }
  size_t panel_bytes() const { return K / info(dtype).block_size * group_bytes(dtype); }
};

/// Rows of activations quantised by spec/numerics.md 3 in blocks of `block` (32 or 256) values.
struct QuantizedRows {
  size_t block = 0;
  int8_t* q = nullptr;      ///< [T, K]
  float* d = nullptr;       ///< [T, ceil(K / block)], dx
  int16_t* sums = nullptr;  ///< [T, K / 16]: sum of q over each 16 values
  /// All of it once more, as ActivationTiles::fill wrote it for the same rows; null: not there.
  const std::byte* tiles = nullptr;
};

/// Many rows of activations in the order in which a table's linear_int8 reads them: T / rows tiles of `rows` rows times
/// slices of 256 values of k (the last may be shorter); which of them follow each other is the table's. Rows beyond the
/// last whole tile are read from the plain form.
struct ActivationTiles {
  static constexpr size_t kSlice = 256;
  size_t rows = 0, bytes = 0;  ///< of a tile; 0: this table has no such form
  size_t least = 0;            ///< rows from which on linear_int8 reads it; without it the product is only slower
  /// Writes tiles [begin, end) of every slice of x's T rows of K values.
  void (*fill)(std::byte* tiles, const QuantizedRows& x, size_t begin, size_t end, size_t T, size_t K) = nullptr;

  static constexpr size_t slices(size_t K) { return (K + kSlice - 1) / kSlice; }
  size_t size(size_t T, size_t K) const { return rows ? T / rows * slices(K) * bytes : 0; }
};

enum class CacheType : uint8_t { kF32, kBF16, kQ8 };
/// Values of a cache of type kQ8 that share a scale: counted from component 0, the last block of a row may be short.
inline constexpr size_t kCacheBlock = 32;
constexpr size_t cache_blocks(size_t d) { return (d + kCacheBlock - 1) / kCacheBlock; }
/// Bytes of one position's d values of one kv head, or of a latent row of d values.
constexpr size_t cache_bytes(CacheType type, size_t d) {
  return type == CacheType::kF32 ? 4 * d : type == CacheType::kBF16 ? 2 * d : d + 4 * cache_blocks(d);
}

/// Keys and values of one sequence in one layer, as attention reads them: page j holds positions 64 j .. 64 j + 63.
/// GQA: keys at page + key_offset: [kv head][position / 16][d][16]; values at page + value_offset: [kv head][64][d].
/// MLA: latent rows at page + key_offset: [64][latent + rope]; value_offset is not used.
/// kQ8: the same as int8, and behind each kv head's 64 d bytes (MLA: all rows) its f32 scales: of keys
/// [position / 16][cache_blocks(d)][16], of values and latent rows [64][cache_blocks(d)].
struct KvPages {
  std::byte* const* pages = nullptr;
  size_t key_offset = 0, value_offset = 0;  ///< bytes
  CacheType type = CacheType::kF32;
};

struct Kernels {
  const char* name;  ///< "ref", "avx2", "avx512", "neon"
  bool has_bf16;  ///< whether the entries *_bf16 may be called (null where not): ref emulates the unit, others need it

  // ---- products. y[t * y_stride + o] for the outputs o < O of panels [panel_begin, panel_end), t < T; nothing else is
  // written.
  /// One chain over k ascending from +0: acc = fma(w[o, k], x[t, k], acc), w dequantised to f32 as tensor/dequantize.h
  /// does.
  void (*linear_exact)(float* y, size_t y_stride, const WeightView& w, size_t panel_begin, size_t panel_end,
                       const float* x, size_t x_stride, size_t T);
  /// spec/numerics.md 3; x.block == int8_block(w.dtype).
  void (*linear_int8)(float* y, size_t y_stride, const WeightView& w, size_t panel_begin, size_t panel_end,
                      const QuantizedRows& x, size_t T);
  /// spec/numerics.md 4; x [T, K] bf16 bits, row stride K.
  void (*linear_bf16)(float* y, size_t y_stride, const WeightView& w, size_t panel_begin, size_t panel_end,
                      const uint16_t* x, size_t T);

  // ---- packing weights
  /// As fathom::pack_rows.
  void (*pack_rows)(std::byte* out, DType type, const std::byte* rows, size_t row_bytes, size_t n, size_t blocks);

  // ---- preparing activations
  /// Rows [T, K] f32 to x.q, x.d, x.sums with x.block. K is a multiple of 16, not always of block: the last block may
  /// be short.
  void (*quantize_rows)(const QuantizedRows& out, const float* x, size_t T, size_t K);
  ActivationTiles tiles;  ///< of quantised rows, for linear_int8
  void (*round_bf16)(uint16_t* out, const float* x, size_t n);

  // ---- rows and elements
  /// y = (x * r) * w, r = 1 / sqrt(ss / D + eps), ss the row sum of squares with s = fma(x, x, s). [T, D].
  void (*rms_norm)(float* y, const float* x, const float* w, size_t T, size_t D, float eps);
  void (*add)(float* y, const float* a, const float* b, size_t n);           ///< y = a + b; y may be a or b
  void (*add_bias)(float* y, const float* bias, size_t T, size_t D);         ///< y[t, :] += bias
  void (*silu_mul)(float* y, const float* gate, const float* up, size_t n);  ///< y = g / (1 + exp(-g)) * u
  /// One row: rotates the 2 * half values at the start of each of `heads` heads (head_stride floats apart), in place.
  /// interleaved: pairs (2i, 2i + 1); else (i, i + half). x1' = x1 * c - x2 * s; x2' = x2 * c + x1 * s, each operation
  /// rounded.
  void (*rope)(float* x, size_t heads, size_t head_stride, size_t half, const float* cos, const float* sin,
               bool interleaved);
  /// cos[i], sin[i] = cos(a), sin(a) times magnitude, a = position * inv_freq[i] in f32.
  void (*rope_angles)(float* cos, float* sin, const float* inv_freq, size_t half, float position, float magnitude);
  /// Softmax over a row of n: exp(x - m) / row sum. y may be x.
  void (*softmax)(float* y, const float* x, size_t n);
  void (*sigmoid)(float* y, const float* x, size_t n);  ///< 1 / (1 + exp(-x))
  /// out[d] = chain over e ascending of acc = fma(gates[e], rows[e * D + d], acc) from +0: one token's experts.
  void (*combine_experts)(float* out, const float* rows, const float* gates, size_t n_experts, size_t D);
  /// m + log(row sum of exp(x - m)).
  float (*log_sum_exp)(const float* x, size_t n);

  // ---- the KV cache and attention
  /// Stores one position's key and value, [kv_heads, d] each, rounded to the cache's type.
  void (*store_kv)(const KvPages& kv, size_t position, const float* k, const float* v, size_t kv_heads, size_t d);
  /// Stores one position's latent row [latent + rope].
  void (*store_latent)(const KvPages& kv, size_t position, const float* row, size_t width);
  /// One query row against positions [0, n): `group` query heads that share kv head `kv_head`. q [group, d], out
  /// [group, d]. scratch: attention_scratch(group, d) floats.
  void (*attention)(float* out, const float* q, size_t group, size_t d, const KvPages& kv, size_t kv_head, size_t n,
                    float scale, float* scratch);
  /// MLA in the absorbed form: q [heads, latent + rope], out [heads, latent]. scratch: attention_mla_scratch(...)
  /// floats.
  void (*attention_mla)(float* out, const float* q, size_t heads, size_t latent, size_t rope, const KvPages& kv,
                        size_t n, float scale, float* scratch);
  /// The same as attention, by several threads. First the weights of blocks [begin, end) of 64 positions, into
  /// parts + b * attention_part(group) in a form of the table's own; then, of all blocks' weights, components
  /// [begin, end) of each head's output, begin a multiple of 16.
  void (*attention_weights)(float* parts, const float* q, size_t group, size_t d, const KvPages& kv, size_t kv_head,
                            size_t n, float scale, size_t begin, size_t end);
  void (*attention_values)(float* out, const float* parts, size_t group, size_t d, const KvPages& kv, size_t kv_head,
                           size_t n, size_t begin, size_t end, float* scratch);
  /// The same as attention_mla for up to 16 heads; parts + b * attention_part(16).
  void (*attention_mla_weights)(float* parts, const float* q, size_t heads, size_t latent, size_t rope,
                                const KvPages& kv, size_t n, float scale, size_t begin, size_t end, float* scratch);
  void (*attention_mla_values)(float* out, const float* parts, size_t heads, size_t latent, size_t rope,
                               const KvPages& kv, size_t n, size_t begin, size_t end, float* scratch);

  // ---- training: what the backward passes are made of; chains continue from what is stored (spec/numerics.md 8)
  /// c[m, n] = chain over k ascending of fma(a[m, k], b[k, n], c[m, n]); a[m, k] = a[m * a_row + k * a_col], one of the
  /// two is 1; rows of c and b are c_stride and b_stride apart. c [M, N] overlaps neither.
  void (*multiply_add)(float* c, size_t c_stride, const float* a, size_t a_row, size_t a_col, const float* b,
                       size_t b_stride, size_t M, size_t N, size_t K);
  /// dx[t, k] = chain over o ascending of fma(w[o, k], dy[t, o], dx[t, k]) for k in [k_begin, k_end), k_begin a
  /// multiple of kBackwardSlice. scratch: kBackwardScratch floats.
  void (*linear_backward_input)(float* dx, size_t dx_stride, const WeightView& w, size_t k_begin, size_t k_end,
                                const float* dy, size_t dy_stride, size_t T, float* scratch);
  /// The same of bf16 pairs, a dword each, the even one in the low half; p the pairs of k, each one step of
  /// linear_bf16: c[m, n] = chain over p ascending of c[m, n] + a[m, 2p + 1] b[2p + 1, n] + a[m, 2p] b[2p, n].
  void (*multiply_add_bf16)(float* c, size_t c_stride, const uint32_t* a, size_t a_row, size_t a_col, const uint32_t* b,
                            size_t b_stride, size_t M, size_t N, size_t P);
  /// The same with w rounded to bf16; dy pairs of outputs, ceil(O / 2) a row, an odd end padded with 0. scratch:
  /// kBackwardScratch / 2 dwords.
  void (*linear_backward_input_bf16)(float* dx, size_t dx_stride, const WeightView& w, size_t k_begin, size_t k_end,
                                     const uint32_t* dy, size_t dy_stride, size_t T, uint32_t* scratch);
  /// One row: dx = (p * (dp - sum)) * scale, sum the row sum of p * dp by fma. dx may be dp.
  void (*softmax_backward)(float* dx, const float* p, const float* dp, size_t n, float scale);
  /// dx += r * (w * dy - ((x * r) * r) * mean), mean the row sum of fma(w * dy, x, s) divided by D; r as in rms_norm,
  /// kept in r[t]. [T, D].
  void (*rms_norm_backward)(float* dx, float* r, const float* dy, const float* x, const float* w, size_t T, size_t D,
                            float eps);
  /// dw[i] += dy[t, i] * (x[t, i] * r[t]), t ascending, for i in [begin, end).
  void (*rms_norm_backward_weight)(float* dw, const float* r, const float* dy, const float* x, size_t T, size_t D,
                                   size_t begin, size_t end);
  /// s = 1 / (1 + exp(-g)): dgate += ((dy * u) * s) * (1 + g * (1 - s)); dup += dy * (g * s).
  void (*silu_mul_backward)(float* dgate, float* dup, const float* dy, const float* gate, const float* up, size_t n);
  /// y = exp(x - shift) * factor. y may be x.
  void (*exp_scaled)(float* y, const float* x, size_t n, float shift, float factor);
};

/// Values of k that linear_backward_input takes at a time, and the scratch it needs.
inline constexpr size_t kBackwardSlice = 256, kBackwardScratch = kBackwardSlice * kBackwardSlice;

/// Floats of scratch that attention and attention_mla may use.
constexpr size_t attention_scratch(size_t group, size_t d) { return group * (kPagePositions + d + 16) + 64; }
constexpr size_t attention_mla_scratch(size_t heads, size_t latent, size_t rope) {
  return (heads + 15) / 16 * 16 * (2 * latent + rope + kPagePositions + 16) + latent + rope + 64;
}

/// Floats of a block's weights in attention_weights.
constexpr size_t attention_part(size_t heads) { return heads * (kPagePositions + 2); }

const Kernels& ref_kernels();
/// Picked once per process: the best table that this CPU runs; FATHOM_KERNELS=ref, avx2, avx512 or neon forces one
/// (Error if it is unknown or cannot run here).
const Kernels& best_kernels();
/// All tables that this CPU can run: tests loop over them.
std::span<const Kernels* const> usable_kernels();

}  // namespace fathom
