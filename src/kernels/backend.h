// Backend: the operations of a device on whole tensors. ops/ has checked shapes and calls these; the CPU one splits
// outputs over its pool, so that results do not depend on the number of threads. One Backend serves one compute thread.
#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "kernels/kernels.h"
#include "kernels/profile.h"
#include "kernels/weight.h"
#include "tensor/tensor.h"

namespace fathom {

/// Rows in one of the forms that products read (LinearForm).
struct LinearOperand {
  LinearForm form = LinearForm::kExact;
  Tensor x;     ///< kExact: [T, K] f32 or f64
  Tensor q;     ///< int8 forms: [T, K] i8
  Tensor d;     ///< [T, ceil(K / block)] f32
  Tensor sums;  ///< [T, ceil(K / 16)] i16
  Tensor half;  ///< kBF16: [T, K] bf16
};

/// y[t, column + o] = w x for the rows [x_row, x_row + T) of an operand; y has rows of y_stride values.
struct LinearTask {
  Tensor y;
  size_t y_row = 0, y_column = 0, y_stride = 0;
  const Weight* w = nullptr;
  const LinearOperand* x = nullptr;
  size_t x_row = 0, T = 0;
};

/// Rows [row, row + rows) of a batch belong to one sequence and are its positions [position, position + rows).
struct SequenceRows {
  size_t row = 0, rows = 0, position = 0;
  std::byte* const* pages = nullptr;  ///< pages of the sequence, enough for position + rows positions
};

/// Where one layer lies within each page.
struct LayerCache {
  size_t key_offset = 0, value_offset = 0;
  CacheType type = CacheType::kF32;
};

/// How a router turns logits into experts and weights (spec/models.md 5).
struct RouterConfig {
  size_t n_experts = 0, top_k = 0, n_group = 1, topk_group = 1;
  bool sigmoid = false;            ///< else softmax over all experts
  bool group_by_two_best = false;  ///< a group's score is the sum of its two best (V3), else its maximum (V2)
  bool normalize = false;
  float scale = 1;
  bool scale_when_normalized = true;  ///< V2's code does not scale normalised weights
};

/// The experts of each token, ascending ids, and their weights.
struct Routing {
  Tensor ids;    ///< [T, k] i32
  Tensor gates;  ///< [T, k] f32
};

/// One linear's backward: dx += dy w; dw += dy^T x, one chain over tokens. Offsets and strides in numbers, T rows each.
struct LinearBackward {
  const Weight* w = nullptr;
  size_t T = 0;
  Tensor dy;
  size_t dy_offset = 0, dy_stride = 0;
  Tensor x;
  size_t x_offset = 0, x_stride = 0;
  Tensor dx;  ///< undefined: the input needs no gradient
  size_t dx_offset = 0, dx_stride = 0;
  Tensor dw;  ///< [O, K]; undefined: the weight is frozen
  /// Empty: in f32. Else operands are rounded to bf16 and multiplied in pairs, of outputs for dx, of rows for dw; those
  /// restart behind each of these rows, ascending, the last T: the ends of the sequences (spec/numerics.md 8).
  std::span<const uint32_t> sequence_ends;
};

struct AttentionShape {
  size_t heads = 0, kv_heads = 0;
  size_t d = 0, dv = 0;  ///< of a query and key, of a value
  float scale = 1;
};
/// dv may be dk where v is k: then dk gets its own chain first, and what v passes on is added after.
struct AttentionGradients {
  Tensor dq, dk, dv;
};

class Backend {
 public:
  virtual ~Backend() = default;
  virtual const Kernels& kernels() const = 0;
  virtual size_t threads() const = 0;
  /// Whether profile bf16 can run here.
  virtual bool has_bf16() const = 0;

  virtual void prepare(LinearOperand& out, const Tensor& x) = 0;  ///< fills the tensors of out.form, already allocated
  virtual void linear(std::span<const LinearTask> tasks) = 0;
  virtual void add_bias(const Tensor& y, const Tensor& bias) = 0;
  virtual void embed(const Tensor& y, const Tensor& ids, const Weight& table) = 0;
  virtual void rms_norm(const Tensor& y, const Tensor& x, const Tensor& weight, float eps) = 0;
  virtual void add(const Tensor& y, const Tensor& a, const Tensor& b) = 0;
  virtual void add_scaled(const Tensor& y, const Tensor& x, float scale) = 0;  ///< y += scale * x, the product rounded
  virtual void silu_mul(const Tensor& y, const Tensor& gate, const Tensor& up) = 0;
  /// cos, sin [T, half] for positions [T].
  virtual void rope_angles(const Tensor& cos, const Tensor& sin, const Tensor& positions, const Tensor& inv_freq,
                           float magnitude) = 0;
  /// Rotates in place the 2 * half values at `offset` of each of `heads` heads of `head_dim` values in each row of x.
  virtual void rope(const Tensor& x, size_t heads, size_t head_dim, size_t offset, const Tensor& cos, const Tensor& sin,
                    bool interleaved) = 0;
  /// Stores keys and values [T, kv_heads * d] of each sequence's rows in its pages.
  virtual void store_kv(std::span<const SequenceRows> rows, const LayerCache& layer, const Tensor& k, const Tensor& v,
                        size_t kv_heads) = 0;
  virtual void store_latent(std::span<const SequenceRows> rows, const LayerCache& layer, const Tensor& latent) = 0;
  /// Causal attention of each row over its sequence: q, out [T, heads * d].
  virtual void attention(const Tensor& out, const Tensor& q, std::span<const SequenceRows> rows,
                         const LayerCache& layer, size_t heads, size_t kv_heads, float scale) = 0;
  /// q [T, heads * (latent + rope)], out [T, heads * latent].
  virtual void attention_mla(const Tensor& out, const Tensor& q, std::span<const SequenceRows> rows,
                             const LayerCache& layer, size_t heads, size_t latent, float scale) = 0;
  /// logits [T, E]; bias [E] or undefined: used for the choice only.
  virtual void route(const Routing& out, const Tensor& logits, const Tensor& bias, const RouterConfig& config) = 0;
  /// The gates that route() gives to experts chosen elsewhere: out.ids are read.
  virtual void gate_chosen(const Routing& out, const Tensor& logits, const RouterConfig& config) = 0;
  /// Orders the T * k slots by expert, then token: token_of_row [T * k] i32 is the token of each row of the experts'
  /// input, row_of_slot [T, k] i32 its inverse; rows [offsets[e], offsets[e + 1]) belong to expert e (E + 1 offsets).
  virtual void group_by_expert(const Tensor& ids, const Tensor& token_of_row, const Tensor& row_of_slot,
                               std::span<uint32_t> offsets) = 0;
  /// y[i, :] = x[rows[i], :].
  virtual void gather_rows(const Tensor& y, const Tensor& x, const Tensor& rows) = 0;
  /// y[t] = chain over the token's slots e ascending of fma(gates[t, e], f[slot_row[t, e]], acc). slot_row [T, k] i32.
  virtual void combine_experts(const Tensor& y, const Tensor& f, const Tensor& slot_row, const Tensor& gates) = 0;
  /// Columns [begin, begin + n) of each of `heads` heads of head_dim values: x [T, heads * head_dim] to y [heads, T,
  /// n].
  virtual void split_heads(const Tensor& y, const Tensor& x, size_t heads, size_t head_dim, size_t begin) = 0;
  /// Copies columns of every row: y[t, y_column + i] = x[t, x_column + i], i < n, for each of `groups` repetitions that
  /// step by y_step and x_step columns.
  virtual void copy_columns(const Tensor& y, size_t y_column, size_t y_step, const Tensor& x, size_t x_column,
                            size_t x_step, size_t groups, size_t n) = 0;

  /// The same where all keys and values of every sequence are rows of the batch, from position 0 on: k [T, kv_heads *
  /// d], v [T, kv_heads * dv], out [T, heads * dv]. f64 alone, for finite differences. v may be k: its first dv
  /// columns.
  virtual void attention_rows(const Tensor& out, const Tensor& q, const Tensor& k, const Tensor& v,
                              std::span<const SequenceRows> rows, const AttentionShape& shape) = 0;
  /// out [T] = log-probability of targets [T] i32 under the distribution of logits [T, V] divided by temperature, which
  /// the logits become; 0 where the target is negative.
  virtual void log_probs(const Tensor& out, const Tensor& logits, const Tensor& targets, float temperature) = 0;

  // ---- backward (spec/numerics.md 8), each adds to the gradients (+=, not =); f32 or f64
  virtual void linear_backward(std::span<const LinearBackward> tasks) = 0;
  virtual void add_bias_backward(const Tensor& dbias, const Tensor& dy) = 0;
  virtual void embed_backward(const Tensor& dtable, const Tensor& dy, const Tensor& ids) = 0;
  virtual void rms_norm_backward(const Tensor& dx, const Tensor& dweight, const Tensor& dy, const Tensor& x,
                                 const Tensor& weight, float eps) = 0;
  virtual void silu_mul_backward(const Tensor& dgate, const Tensor& dup, const Tensor& dy, const Tensor& gate,
                                 const Tensor& up) = 0;
  /// a += b.
  virtual void accumulate(const Tensor& a, const Tensor& b) = 0;
  /// dx += dy turned back; columns that rope() left alone pass as they are.
  virtual void rope_backward(const Tensor& dx, const Tensor& dy, size_t heads, size_t head_dim, size_t offset,
                             const Tensor& cos, const Tensor& sin, bool interleaved) = 0;
  /// Shapes as in attention_rows; k and v as the cache gave them back. In blocks of 64 queries from each sequence's
  /// start; a position after the query's enters a block's sums as 0.
  ///   p = softmax(q k^T scale);  ds = p (dout v^T - row sum of p dout v^T) scale;  dq += ds k;
  ///   dk += ds^T q, dv += p^T dout: chains over queries ascending, a group's heads inside.
  virtual void attention_backward(const AttentionGradients& to, const Tensor& dout, const Tensor& q, const Tensor& k,
                                  const Tensor& v, std::span<const SequenceRows> rows, const AttentionShape& shape) = 0;
  virtual void route_backward(const Tensor& dlogits, const Tensor& dgates, const Tensor& logits, const Tensor& ids,
                              const RouterConfig& config) = 0;
  /// Sum over sequences of the sequence-wise balance loss (kernels/cpu/route.h), without alpha; dlogits += weight times
  /// its gradient, or undefined.
  virtual double balance_loss(const Tensor& dlogits, const Tensor& logits, std::span<const SequenceRows> rows,
                              const RouterConfig& config, double weight) = 0;
  /// dx[t] += dy[row_of_slot[t, e]], e ascending.
  virtual void gather_rows_backward(const Tensor& dx, const Tensor& dy, const Tensor& row_of_slot) = 0;
  /// df[row] += gate * dy[t]; dgates[t, e] += row sum of f[row] * dy[t].
  virtual void combine_experts_backward(const Tensor& df, const Tensor& dgates, const Tensor& dy, const Tensor& f,
                                        const Tensor& row_of_slot, const Tensor& gates) = 0;
  /// Of copy_columns: dx[t, x_column + g * x_step + i] += dy[t, y_column + g * y_step + i].
  virtual void copy_columns_backward(const Tensor& dx, size_t x_column, size_t x_step, const Tensor& dy,
                                     size_t y_column, size_t y_step, size_t groups, size_t n) = 0;
  /// Of log_probs, in place: scaled logits l become dlogp / temperature * (1[target] - exp(l - log_sum_exp(l))).
  virtual void log_probs_backward(const Tensor& scaled_logits, const Tensor& dlogp, const Tensor& targets,
                                  float temperature) = 0;
  /// y = x rounded as a cache of that type stores and gives it back, per row of `heads` heads; y is x's own memory
  /// where the type keeps f32.
  virtual Tensor as_cached(const Tensor& x, size_t heads, CacheType type) = 0;
  /// a[m, k] b[k, n] added to c [M, N] (Kernels::multiply_add), shared by the pool.
  virtual void multiply_add(float* c, size_t c_stride, const float* a, size_t a_row, size_t a_col, const float* b,
                            size_t b_stride, size_t M, size_t N, size_t K) = 0;
};

/// The CPU: `threads` threads, a table of kernels.
std::unique_ptr<Backend> make_cpu_backend(size_t threads, const Kernels& kernels = best_kernels());

}  // namespace fathom
