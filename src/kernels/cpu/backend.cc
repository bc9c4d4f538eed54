// The CPU backend: splits whole-tensor work into independent items over the pool and calls the kernel table on each.
#include "kernels/backend.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "base/thread_pool.h"
#include "kernels/cpu/attention.h"
#include "kernels/cpu/backward.h"
#include "kernels/cpu/route.h"
#include "kernels/ref/backward.h"
#include "kernels/ref/linear.h"
#include "kernels/ref/rows.h"

namespace fathom {

float* thread_scratch(size_t floats) {
  thread_local std::vector<float> scratch;
  if (scratch.size() < floats) scratch.resize(floats);
  return scratch.data();
}

namespace {

std::byte* at(const Tensor& t, size_t element) { return t.bytes() + element * info(t.dtype()).block_bytes; }

class CpuBackend final : public Backend {
 public:
  CpuBackend(size_t threads, const Kernels& kernels) : pool_(threads), k_(kernels), work_{pool_, k_} {}

  const Kernels& kernels() const override { return k_; }
  size_t threads() const override { return pool_.size(); }
  bool has_bf16() const override { return k_.has_bf16; }

  void prepare(LinearOperand& out, const Tensor& x) override {
    const size_t T = x.rows(), K = x.shape().back();
    if (out.form == LinearForm::kExact) {
      out.x = x;
      return;
    }
    const auto* in = x.data<float>();
    if (out.form == LinearForm::kBF16) {
      auto* half = out.half.data<uint16_t>();
      rows(T, K, [&](size_t begin, size_t n) { k_.round_bf16(half + begin * K, in + begin * K, n * K); });
    } else {
      const QuantizedRows all = quantized(out);
      rows(T, K, [&](size_t begin, size_t n) { k_.quantize_rows(from_row(all, K, begin), in + begin * K, n, K); });
    }
  }

  void linear(std::span<const LinearTask> tasks) override {
    size_t panels = 0;
    for (const LinearTask& task : tasks) panels += task.T ? task.w->view().panels() : 0;
    // Some 16 items a thread keep the threads level; a product never depends on where it is cut.
    const size_t chunk = std::clamp<size_t>(panels / (pool_.size() * 16), 1, 64);
    items_.clear();
    for (uint32_t i = 0; i < tasks.size(); ++i) {
      if (tasks[i].T == 0) continue;
      const size_t n = tasks[i].w->view().panels();
      for (size_t begin = 0; begin < n; begin += chunk) items_.push_back({i, begin, std::min(n, begin + chunk)});
    }
    fill_tiles(tasks);
    pool_.run(items_.size(), [&](size_t i) { run_linear(tasks[items_[i].task], items_[i].begin, items_[i].end); });
  }

  void add_bias(const Tensor& y, const Tensor& bias) override {
    const size_t D = bias.count();
    if (y.dtype() == DType::kF64) return ref::add_bias(y.data<double>(), bias.data<double>(), y.rows(), D);
    auto* out = y.data<float>();
    const auto* b = bias.data<float>();
    rows(y.rows(), D, [&](size_t begin, size_t n) { k_.add_bias(out + begin * D, b, n, D); });
  }

  void embed(const Tensor& y, const Tensor& ids, const Weight& table) override {
    const size_t D = table.K();
    if (y.dtype() == DType::kF64) {
      const Tensor values = table.row_major();
      for (size_t t = 0; t < ids.count(); ++t)
        std::memcpy(y.data<double>() + t * D, values.data<double>() + static_cast<size_t>(ids.data<int32_t>()[t]) * D,
                    D * sizeof(double));
      return;
    }
    const auto* id = ids.data<int32_t>();
    auto* out = y.data<float>();
    rows(ids.count(), D, [&](size_t begin, size_t n) {
      for (size_t t = begin; t < begin + n; ++t) table.row(static_cast<size_t>(id[t]), out + t * D);
    });
  }

  void rms_norm(const Tensor& y, const Tensor& x, const Tensor& weight, float eps) override {
    const size_t D = weight.count();
    if (x.dtype() == DType::kF64)
      return ref::rms_norm(y.data<double>(), x.data<double>(), weight.data<double>(), x.count() / D, D,
                           static_cast<double>(eps));
    auto* out = y.data<float>();
    const auto *in = x.data<float>(), *w = weight.data<float>();
    rows(x.count() / D, D, [&](size_t begin, size_t n) { k_.rms_norm(out + begin * D, in + begin * D, w, n, D, eps); });
  }

  void add(const Tensor& y, const Tensor& a, const Tensor& b) override {
    if (y.dtype() == DType::kF64) return ref::add(y.data<double>(), a.data<double>(), b.data<double>(), y.count());
    auto* out = y.data<float>();
    const auto *p = a.data<float>(), *q = b.data<float>();
    rows(y.count(), 1, [&](size_t begin, size_t n) { k_.add(out + begin, p + begin, q + begin, n); });
  }

  void add_scaled(const Tensor& y, const Tensor& x, float scale) override {
    with_type(y, [&](auto zero) {
      using F = decltype(zero);
      rows(y.count(), 1, [&](size_t begin, size_t n) {
        ref::add_scaled(y.data<F>() + begin, x.data<F>() + begin, static_cast<F>(scale), n);
      });
    });
  }

  void silu_mul(const Tensor& y, const Tensor& gate, const Tensor& up) override {
    if (y.dtype() == DType::kF64)
      return ref::silu_mul(y.data<double>(), gate.data<double>(), up.data<double>(), y.count());
    auto* out = y.data<float>();
    const auto *g = gate.data<float>(), *u = up.data<float>();
    rows(y.count(), 1, [&](size_t begin, size_t n) { k_.silu_mul(out + begin, g + begin, u + begin, n); });
  }

  void rope_angles(const Tensor& cos, const Tensor& sin, const Tensor& positions, const Tensor& inv_freq,
                   float magnitude) override {
    const size_t half = inv_freq.count();
    const auto* position = positions.data<int32_t>();
    for (size_t t = 0; t < positions.count(); ++t)
      k_.rope_angles(cos.data<float>() + t * half, sin.data<float>() + t * half, inv_freq.data<float>(), half,
                     static_cast<float>(position[t]), magnitude);
  }

  void rope(const Tensor& x, size_t heads, size_t head_dim, size_t offset, const Tensor& cos, const Tensor& sin,
            bool interleaved) override {
    const size_t half = cos.shape().back(), width = x.shape().back();
    if (x.dtype() == DType::kF64) return rope_f64(x, heads, head_dim, offset, cos, sin, interleaved);
    auto* data = x.data<float>() + offset;
    const auto *c = cos.data<float>(), *s = sin.data<float>();
    rows(x.rows(), width, [&](size_t begin, size_t n) {
      for (size_t t = begin; t < begin + n; ++t)
        k_.rope(data + t * width, heads, head_dim, half, c + t * half, s + t * half, interleaved);
    });
  }

  void store_kv(std::span<const SequenceRows> sequences, const LayerCache& layer, const Tensor& k, const Tensor& v,
                size_t kv_heads) override {
    const size_t width = k.shape().back(), d = width / kv_heads;
    const auto *keys = k.data<float>(), *values = v.data<float>();
    for (const SequenceRows& s : sequences) {
      const KvPages kv{s.pages, layer.key_offset, layer.value_offset, layer.type};
      rows(s.rows, 2 * width, [&](size_t begin, size_t n) {
        for (size_t t = begin; t < begin + n; ++t)
          k_.store_kv(kv, s.position + t, keys + (s.row + t) * width, values + (s.row + t) * width, kv_heads, d);
      });
    }
  }

  void store_latent(std::span<const SequenceRows> sequences, const LayerCache& layer, const Tensor& latent) override {
    const size_t width = latent.shape().back();
    const auto* in = latent.data<float>();
    for (const SequenceRows& s : sequences) {
      const KvPages kv{s.pages, layer.key_offset, layer.value_offset, layer.type};
      for (size_t t = 0; t < s.rows; ++t) k_.store_latent(kv, s.position + t, in + (s.row + t) * width, width);
    }
  }

  void attention(const Tensor& out, const Tensor& q, std::span<const SequenceRows> sequences, const LayerCache& layer,
                 size_t heads, size_t kv_heads, float scale) override {
    cpu_attention(work_, shared_attention_, out, q, sequences, layer, heads, kv_heads, scale);
  }
  void attention_mla(const Tensor& out, const Tensor& q, std::span<const SequenceRows> sequences,
                     const LayerCache& layer, size_t heads, size_t latent, float scale) override {
    cpu_attention_mla(work_, shared_attention_, out, q, sequences, layer, heads, latent, scale);
  }

  void route(const Routing& out, const Tensor& logits, const Tensor& bias, const RouterConfig& config) override {
    for_each_token(out, logits, config, [&](auto* x, int32_t* ids, auto* gates, auto* scratch) {
      using F = std::remove_pointer_t<decltype(gates)>;
      route_token<F>(Math<F>{k_}, config, x, bias.defined() ? bias.data<F>() : nullptr, ids, gates, scratch);
    });
  }
  void gate_chosen(const Routing& out, const Tensor& logits, const RouterConfig& config) override {
    for_each_token(out, logits, config, [&](auto* x, int32_t* ids, auto* gates, auto* scratch) {
      using F = std::remove_pointer_t<decltype(gates)>;
      gate_chosen_token<F>(Math<F>{k_}, config, x, ids, gates, scratch);
    });
  }

  void group_by_expert(const Tensor& ids, const Tensor& token_of_row, const Tensor& row_of_slot,
                       std::span<uint32_t> offsets) override {
    const size_t slots = ids.count(), k = ids.shape().back();
    const auto* expert = ids.data<int32_t>();
    std::fill(offsets.begin(), offsets.end(), 0);
    for (size_t i = 0; i < slots; ++i) ++offsets[static_cast<size_t>(expert[i]) + 1];
    for (size_t e = 1; e < offsets.size(); ++e) offsets[e] += offsets[e - 1];
    next_.assign(offsets.begin(), offsets.end() - 1);
    for (size_t i = 0; i < slots; ++i) {
      const uint32_t row = next_[static_cast<size_t>(expert[i])]++;
      token_of_row.data<int32_t>()[row] = static_cast<int32_t>(i / k);
      row_of_slot.data<int32_t>()[i] = static_cast<int32_t>(row);
    }
  }

  void gather_rows(const Tensor& y, const Tensor& x, const Tensor& which) override {
    const size_t D = x.shape().back();
    const auto* from = which.data<int32_t>();
    rows(which.count(), D, [&](size_t begin, size_t n) {
      for (size_t i = begin; i < begin + n; ++i)
        std::memcpy(at(y, i * D), at(x, static_cast<size_t>(from[i]) * D), D * info(x.dtype()).block_bytes);
    });
  }

  void combine_experts(const Tensor& y, const Tensor& f, const Tensor& slot_row, const Tensor& gates) override {
    const size_t T = slot_row.dim(0), k = slot_row.dim(1), D = f.shape().back();
    const auto* slots = slot_row.data<int32_t>();
    if (f.dtype() == DType::kF64) return combine_experts_f64(y, f, slot_row, gates);
    rows(T, D, [&](size_t begin, size_t n) {
      float* experts = thread_scratch(k * D);  // the token's rows side by side, experts ascending
      for (size_t t = begin; t < begin + n; ++t) {
        for (size_t e = 0; e < k; ++e)
          std::memcpy(experts + e * D, f.data<float>() + static_cast<size_t>(slots[t * k + e]) * D, D * sizeof(float));
        k_.combine_experts(y.data<float>() + t * D, experts, gates.data<float>() + t * k, k, D);
      }
    });
  }

  void split_heads(const Tensor& y, const Tensor& x, size_t heads, size_t head_dim, size_t begin) override {
    const size_t n = y.shape().back(), T = x.rows(), width = heads * head_dim;
    for (size_t h = 0; h < heads; ++h)
      for (size_t t = 0; t < T; ++t)
        std::memcpy(at(y, (h * T + t) * n), at(x, t * width + h * head_dim + begin), n * info(x.dtype()).block_bytes);
  }

  void copy_columns(const Tensor& y, size_t y_column, size_t y_step, const Tensor& x, size_t x_column, size_t x_step,
                    size_t groups, size_t n) override {
    const size_t T = x.rows(), y_width = y.shape().back(), x_width = x.shape().back();
    for (size_t t = 0; t < T; ++t)
      for (size_t g = 0; g < groups; ++g)
        std::memcpy(at(y, t * y_width + y_column + g * y_step), at(x, t * x_width + x_column + g * x_step),
                    n * info(x.dtype()).block_bytes);
  }

  void attention_rows(const Tensor& out, const Tensor& q, const Tensor& k, const Tensor& v,
                      std::span<const SequenceRows> sequences, const AttentionShape& shape) override {
    cpu_attention_rows(work_, out, q, k, v, sequences, shape);
  }
  void log_probs(const Tensor& out, const Tensor& logits, const Tensor& targets, float temperature) override {
    cpu_log_probs(work_, out, logits, targets, temperature);
  }

  void linear_backward(std::span<const LinearBackward> tasks) override { cpu_linear_backward(work_, tasks); }

  void add_bias_backward(const Tensor& dbias, const Tensor& dy) override {
    with_type(dy, [&](auto zero) {
      using F = decltype(zero);
      ref::add_bias_backward(dbias.data<F>(), dy.data<F>(), dy.rows(), dbias.count());
    });
  }

  void embed_backward(const Tensor& dtable, const Tensor& dy, const Tensor& ids) override {
    with_type(dy, [&](auto zero) {
      using F = decltype(zero);
      ref::embed_backward(dtable.data<F>(), dy.data<F>(), ids.data<int32_t>(), ids.count(), dy.shape().back());
    });
  }

  void rms_norm_backward(const Tensor& dx, const Tensor& dweight, const Tensor& dy, const Tensor& x,
                         const Tensor& weight, float eps) override {
    cpu_rms_norm_backward(work_, dx, dweight, dy, x, weight, eps);
  }
  void silu_mul_backward(const Tensor& dgate, const Tensor& dup, const Tensor& dy, const Tensor& gate,
                         const Tensor& up) override {
    cpu_silu_mul_backward(work_, dgate, dup, dy, gate, up);
  }

  void accumulate(const Tensor& a, const Tensor& b) override {
    with_type(a, [&](auto zero) {
      using F = decltype(zero);
      rows(a.count(), 1,
           [&](size_t i, size_t n) { Math<F>{k_}.add(a.data<F>() + i, a.data<F>() + i, b.data<F>() + i, n); });
    });
  }

  void rope_backward(const Tensor& dx, const Tensor& dy, size_t heads, size_t head_dim, size_t offset,
                     const Tensor& cos, const Tensor& sin, bool interleaved) override {
    cpu_rope_backward(work_, dx, dy, heads, head_dim, offset, cos, sin, interleaved);
  }
  void attention_backward(const AttentionGradients& to, const Tensor& dout, const Tensor& q, const Tensor& k,
                          const Tensor& v, std::span<const SequenceRows> sequences,
                          const AttentionShape& shape) override {
    cpu_attention_backward(work_, to, dout, q, k, v, sequences, shape);
  }
  void route_backward(const Tensor& dlogits, const Tensor& dgates, const Tensor& logits, const Tensor& ids,
                      const RouterConfig& config) override {
    cpu_route_backward(work_, dlogits, dgates, logits, ids, config);
  }
  double balance_loss(const Tensor& dlogits, const Tensor& logits, std::span<const SequenceRows> sequences,
                      const RouterConfig& config, double weight) override {
    return cpu_balance_loss(work_, dlogits, logits, sequences, config, weight);
  }
  void gather_rows_backward(const Tensor& dx, const Tensor& dy, const Tensor& row_of_slot) override {
    cpu_gather_rows_backward(work_, dx, dy, row_of_slot);
  }
  void combine_experts_backward(const Tensor& df, const Tensor& dgates, const Tensor& dy, const Tensor& f,
                                const Tensor& row_of_slot, const Tensor& gates) override {
    cpu_combine_experts_backward(work_, df, dgates, dy, f, row_of_slot, gates);
  }

  void copy_columns_backward(const Tensor& dx, size_t x_column, size_t x_step, const Tensor& dy, size_t y_column,
                             size_t y_step, size_t groups, size_t n) override {
    with_type(dy, [&](auto zero) {
      using F = decltype(zero);
      const size_t y_width = dy.shape().back(), x_width = dx.shape().back();
      for (size_t t = 0; t < dy.rows(); ++t)
        for (size_t g = 0; g < groups; ++g) {
          F* to = dx.data<F>() + t * x_width + x_column + g * x_step;
          Math<F>{k_}.add(to, to, dy.data<F>() + t * y_width + y_column + g * y_step, n);
        }
    });
  }

  void log_probs_backward(const Tensor& scaled_logits, const Tensor& dlogp, const Tensor& targets,
                          float temperature) override {
    cpu_log_probs_backward(work_, scaled_logits, dlogp, targets, temperature);
  }
  Tensor as_cached(const Tensor& x, size_t heads, CacheType type) override {
    return cpu_as_cached(work_, x, heads, type);
  }

  void multiply_add(float* c, size_t c_stride, const float* a, size_t a_row, size_t a_col, const float* b,
                    size_t b_stride, size_t M, size_t N, size_t K) override {
    constexpr size_t kColumns = 64, kRows = 96;
    const size_t across = (N + kColumns - 1) / kColumns, down = (M + kRows - 1) / kRows;
    pool_.run(across * down, [&](size_t i) {
      const size_t n = i % across * kColumns, m = i / across * kRows;
      k_.multiply_add(c + m * c_stride + n, c_stride, a + m * a_row, a_row, a_col, b + n, b_stride,
                      std::min(kRows, M - m), std::min(kColumns, N - n), K);
    });
  }

 private:
  struct LinearItem {
    uint32_t task;
    size_t begin, end;
  };

  /// Rows that have been put into tiles, once for all tasks that read them.
  struct TiledRows {
    const LinearOperand* x;
    size_t row, T, K;
    std::byte* tiles;
  };

  template <class F>
  void rows(size_t n, size_t width, F&& f) {
    work_.rows(n, width, std::forward<F>(f));
  }

  /// Calls f(logits, ids, gates, scratch) for every token of a router.
  template <class F>
  void for_each_token(const Routing& out, const Tensor& logits, const RouterConfig& config, F&& f) {
    const size_t E = config.n_experts, k = config.top_k;
    with_type(logits, [&](auto zero) {
      using Number = decltype(zero);
      rows(logits.rows(), E, [&](size_t begin, size_t n) {
        auto* scratch = reinterpret_cast<Number*>(thread_scratch(2 * route_scratch(config)));
        for (size_t t = begin; t < begin + n; ++t)
          f(logits.data<Number>() + t * E, out.ids.data<int32_t>() + t * k, out.gates.data<Number>() + t * k, scratch);
      });
    });
  }

  static QuantizedRows quantized(const LinearOperand& x) {
    return {x.form == LinearForm::kInt8Block32 ? size_t{32} : size_t{256}, x.q.data<int8_t>(), x.d.data<float>(),
            reinterpret_cast<int16_t*>(x.sums.bytes())};
  }
  static QuantizedRows from_row(QuantizedRows x, size_t K, size_t row) {
    x.q += row * K;
    x.d += row * ((K + x.block - 1) / x.block);
    x.sums += row * ((K + 15) / 16);
    return x;
  }

  const TiledRows* tiled_rows(const LinearTask& task) const {
    for (const TiledRows& known : tiled_)
      if (known.x == task.x && known.row == task.x_row && known.T == task.T) return &known;
    return nullptr;
  }
  void fill_tiles(std::span<const LinearTask> tasks) {
    tiled_.clear();
    tile_items_.clear();
    tile_memory_.reset();
    const ActivationTiles& form = k_.tiles;
    for (const LinearTask& task : tasks) {
      const size_t K = task.w->K(), size = form.size(task.T, K);
      if (size == 0 || task.T < form.least || !is_int8(*task.x) || tiled_rows(task)) continue;
      const size_t n = task.T / form.rows, piece = pieces(16384, form.rows * K);
      for (size_t begin = 0; begin < n; begin += piece)
        tile_items_.push_back({static_cast<uint32_t>(tiled_.size()), begin, std::min(n, begin + piece)});
      tiled_.push_back({task.x, task.x_row, task.T, K, tile_memory_.allocate(size).get()});
    }
    pool_.run(tile_items_.size(), [&](size_t i) {
      const LinearItem& item = tile_items_[i];
      const TiledRows& r = tiled_[item.task];
      k_.tiles.fill(r.tiles, from_row(quantized(*r.x), r.K, r.row), item.begin, item.end, r.T, r.K);
    });
  }

  static bool is_int8(const LinearOperand& x) {
    return x.form == LinearForm::kInt8Block32 || x.form == LinearForm::kInt8Block256;
  }

  void run_linear(const LinearTask& task, size_t begin, size_t end) {
    const WeightView& w = task.w->view();
    const LinearOperand& x = *task.x;
    if (w.dtype == DType::kF64) return run_linear_f64(task, begin, end);
    float* y = task.y.data<float>() + task.y_row * task.y_stride + task.y_column;
    switch (x.form) {
      case LinearForm::kExact:
        return k_.linear_exact(y, task.y_stride, w, begin, end, x.x.data<float>() + task.x_row * w.K, w.K, task.T);
      case LinearForm::kBF16:
        return k_.linear_bf16(y, task.y_stride, w, begin, end, x.half.data<uint16_t>() + task.x_row * w.K, task.T);
      default: {
        QuantizedRows rows = from_row(quantized(x), w.K, task.x_row);
        if (const TiledRows* tiled = tiled_rows(task)) rows.tiles = tiled->tiles;
        return k_.linear_int8(y, task.y_stride, w, begin, end, rows, task.T);
      }
    }
  }

  static void rope_f64(const Tensor& x, size_t heads, size_t head_dim, size_t offset, const Tensor& cos,
                       const Tensor& sin, bool interleaved) {
    const size_t half = cos.shape().back(), width = x.shape().back();
    const std::vector<double> c(cos.data<float>(), cos.data<float>() + cos.count()),
        s(sin.data<float>(), sin.data<float>() + sin.count());
    for (size_t t = 0; t < x.rows(); ++t)
      ref::rope(x.data<double>() + t * width + offset, heads, head_dim, half, c.data() + t * half, s.data() + t * half,
                interleaved);
  }

  static void combine_experts_f64(const Tensor& y, const Tensor& f, const Tensor& slot_row, const Tensor& gates) {
    const size_t T = slot_row.dim(0), k = slot_row.dim(1), D = f.shape().back();
    for (size_t t = 0; t < T; ++t)
      for (size_t d = 0; d < D; ++d) {
        double acc = 0;
        for (size_t slot = t * k; slot < (t + 1) * k; ++slot)
          acc = std::fma(gates.data<double>()[slot],
                         f.data<double>()[static_cast<size_t>(slot_row.data<int32_t>()[slot]) * D + d], acc);
        y.data<double>()[t * D + d] = acc;
      }
  }

  static void run_linear_f64(const LinearTask& task, size_t begin, size_t end) {
    const WeightView& w = task.w->view();
    const auto* panels = reinterpret_cast<const double*>(w.data);
    double* y = task.y.data<double>() + task.y_row * task.y_stride + task.y_column;
    for (size_t p = begin; p < end; ++p) {
      const size_t n = std::min(kPanelRows, w.O - p * kPanelRows);
      for (size_t t = 0; t < task.T; ++t) std::fill_n(y + t * task.y_stride + p * kPanelRows, n, 0.0);
      ref::continue_panel(y + p * kPanelRows, task.y_stride, panels + p * kPanelRows * w.K,
                          task.x->x.data<double>() + task.x_row * w.K, w.K, task.T, w.K, n);
    }
  }

  ThreadPool pool_;
  const Kernels& k_;
  const CpuWork work_;
  std::vector<LinearItem> items_, tile_items_;  ///< of tile_items_ `task` is an index into tiled_
  std::vector<TiledRows> tiled_;
  Arena tile_memory_;
  SharedAttention shared_attention_;
  std::vector<uint32_t> next_;
};

}  // namespace

std::unique_ptr<Backend> make_cpu_backend(size_t threads, const Kernels& kernels) {
  return std::make_unique<CpuBackend>(threads, kernels);
}

}  // namespace fathom
