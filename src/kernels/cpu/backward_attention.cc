// Attention's backward as products: blocks of 64 queries of each sequence and kv head, in waves that bound the memory
// for probabilities and their gradients.
#include <algorithm>
#include <vector>

#include "kernels/cpu/backward.h"
#include "kernels/cpu/number.h"
#include "kernels/ref/attend.h"

namespace fathom {
namespace {

constexpr size_t kBlock = kPagePositions, kWaveNumbers = size_t{8} << 20;

/// One sequence and kv head: pointers to its first row.
template <class F>
struct Unit {
  const F *q, *k, *v, *dout;
  F *dq, *dk, *dv;
  size_t n;
  std::vector<F> k_columns, v_columns;  // [d][n], [dv][n]: lanes over positions
};

/// A block of queries of a unit; rows (query, head of the group), queries ascending.
template <class F>
struct Block {
  size_t unit, begin, end;
  std::vector<F> p, ds;    // [(query, head)][end]
  std::vector<F> q, dout;  // [(query, head)][d], [dv]
};

template <class F>
class AttentionBackward {
 public:
  AttentionBackward(const CpuWork& work, const AttentionGradients& to, const Tensor& dout, const Tensor& q,
                    const Tensor& k, const Tensor& v, std::span<const SequenceRows> rows, const AttentionShape& shape)
      : work_(work), math_{work.k}, shape_(shape), group_(shape.heads / shape.kv_heads) {
    q_stride_ = q.shape().back(), out_stride_ = dout.shape().back();
    k_stride_ = k.shape().back(), v_stride_ = v.shape().back();
    shared_ = to.dv.bytes() == to.dk.bytes();
    for (const SequenceRows& s : rows)
      for (size_t h = 0; h < shape.kv_heads; ++h) {
        const size_t q_at = s.row * q_stride_ + h * group_ * shape.d, k_at = s.row * k_stride_ + h * shape.d,
                     out_at = s.row * out_stride_ + h * group_ * shape.dv, v_at = s.row * v_stride_ + h * shape.dv;
        units_.push_back({q.data<F>() + q_at,
                          k.data<F>() + k_at,
                          v.data<F>() + v_at,
                          dout.data<F>() + out_at,
                          to.dq.data<F>() + q_at,
                          to.dk.data<F>() + k_at,
                          to.dv.data<F>() + v_at,
                          s.rows,
                          {},
                          {}});
      }
  }

  void run() {
    work_.pool.run(units_.size(), [&](size_t i) { make_columns(units_[i]); });
    std::vector<F> shared_sums;  // what values pass on, kept apart from the keys' chains
    if (shared_) set_apart(shared_sums);
    std::vector<Block<F>> wave;
    size_t numbers = 0;
    for (size_t u = 0; u < units_.size(); ++u)
      for (size_t begin = 0; begin < units_[u].n; begin += kBlock) {
        const size_t end = std::min(units_[u].n, begin + kBlock);
        wave.push_back({u, begin, end, {}, {}, {}, {}});
        numbers += 2 * (end - begin) * group_ * end;
        if (numbers >= kWaveNumbers) run_wave(wave), wave.clear(), numbers = 0;
      }
    run_wave(wave);
    if (shared_) join();
  }

 private:
  void make_columns(Unit<F>& unit) const {
    const auto transpose = [&](std::vector<F>& out, const F* rows, size_t stride, size_t width) {
      out.resize(width * unit.n);
      for (size_t j = 0; j < unit.n; ++j)
        for (size_t i = 0; i < width; ++i) out[i * unit.n + j] = rows[j * stride + i];
    };
    transpose(unit.k_columns, unit.k, k_stride_, shape_.d);
    transpose(unit.v_columns, unit.v, v_stride_, shape_.dv);
  }

  /// MLA: the values are the keys' first columns, and so are their gradients.
  void set_apart(std::vector<F>& sums) {
    size_t total = 0;
    for (const Unit<F>& unit : units_) total += unit.n * shape_.dv;
    sums.assign(total, F(0));
    F* at = sums.data();
    for (Unit<F>& unit : units_) unit.dv = at, at += unit.n * shape_.dv;
    dv_stride_ = shape_.dv;
  }
  void join() {
    work_.pool.run(units_.size(), [&](size_t i) {
      const Unit<F>& unit = units_[i];
      for (size_t j = 0; j < unit.n; ++j)
        math_.add(unit.dk + j * k_stride_, unit.dk + j * k_stride_, unit.dv + j * shape_.dv, shape_.dv);
    });
  }

  void run_wave(std::vector<Block<F>>& wave) {
    work_.pool.run(wave.size(), [&](size_t i) { query_gradients(wave[i]); });
    struct Keys {
      size_t first, last, begin;  // blocks of the wave, keys from `begin` on
    };
    std::vector<Keys> keys;
    for (size_t first = 0; first < wave.size();) {
      size_t last = first;
      while (last < wave.size() && wave[last].unit == wave[first].unit) ++last;
      for (size_t begin = 0; begin < wave[last - 1].end; begin += kBlock) keys.push_back({first, last, begin});
      first = last;
    }
    work_.pool.run(keys.size(), [&](size_t i) {
      for (size_t b = keys[i].first; b < keys[i].last; ++b) key_gradients(wave[b], keys[i].begin);
    });
  }

  void query_gradients(Block<F>& block) const {
    const Unit<F>& unit = units_[block.unit];
    const size_t queries = block.end - block.begin, rows = queries * group_, n = block.end, d = shape_.d,
                 dv = shape_.dv;
    const auto take = [&](std::vector<F>& out, const F* from, size_t stride, size_t width) {
      out.resize(rows * width);
      for (size_t t = 0; t < queries; ++t)
        std::copy_n(from + (block.begin + t) * stride, group_ * width, out.data() + t * group_ * width);
    };
    take(block.q, unit.q, q_stride_, d);
    take(block.dout, unit.dout, out_stride_, dv);
    block.p.assign(rows * n, F(0));
    block.ds.assign(rows * n, F(0));
    math_.multiply_add(block.p.data(), n, block.q.data(), d, 1, unit.k_columns.data(), unit.n, rows, n, d);
    math_.multiply_add(block.ds.data(), n, block.dout.data(), dv, 1, unit.v_columns.data(), unit.n, rows, n, dv);
    const auto scale = static_cast<F>(shape_.scale);
    for (size_t r = 0; r < rows; ++r) {
      F *p = block.p.data() + r * n, *ds = block.ds.data() + r * n;
      const size_t seen = block.begin + r / group_ + 1;
      for (size_t j = 0; j < seen; ++j) p[j] *= scale;
      math_.softmax(p, p, seen);
      math_.softmax_backward(ds, p, ds, seen, scale);
      std::fill(p + seen, p + n, F(0));
      std::fill(ds + seen, ds + n, F(0));
    }
    for (size_t g = 0; g < group_; ++g)
      math_.multiply_add(unit.dq + block.begin * q_stride_ + g * d, q_stride_, block.ds.data() + g * n, group_ * n, 1,
                         unit.k, k_stride_, queries, d, n);
  }

  /// What the block's queries add to the keys and values [begin, begin + 64).
  void key_gradients(const Block<F>& block, size_t begin) const {
    if (begin >= block.end) return;
    const Unit<F>& unit = units_[block.unit];
    const size_t rows = (block.end - block.begin) * group_, n = block.end, count = std::min(kBlock, n - begin);
    math_.multiply_add(unit.dk + begin * k_stride_, k_stride_, block.ds.data() + begin, 1, n, block.q.data(), shape_.d,
                       count, shape_.d, rows);
    const size_t stride = shared_ ? dv_stride_ : v_stride_;
    math_.multiply_add(unit.dv + begin * stride, stride, block.p.data() + begin, 1, n, block.dout.data(), shape_.dv,
                       count, shape_.dv, rows);
  }

  const CpuWork& work_;
  const Math<F> math_;
  const AttentionShape& shape_;
  size_t group_, q_stride_ = 0, k_stride_ = 0, v_stride_ = 0, out_stride_ = 0, dv_stride_ = 0;
  bool shared_ = false;
  std::vector<Unit<F>> units_;
};

}  // namespace

void cpu_attention_backward(const CpuWork& work, const AttentionGradients& to, const Tensor& dout, const Tensor& q,
                            const Tensor& k, const Tensor& v, std::span<const SequenceRows> rows,
                            const AttentionShape& shape) {
  with_type(q, [&](auto zero) { AttentionBackward<decltype(zero)>(work, to, dout, q, k, v, rows, shape).run(); });
}

void cpu_attention_rows(const CpuWork& work, const Tensor& out, const Tensor& q, const Tensor& k, const Tensor& v,
                        std::span<const SequenceRows> rows, const AttentionShape& shape) {
  const size_t d = shape.d, dv = shape.dv, group = shape.heads / shape.kv_heads;
  const size_t k_stride = k.shape().back(), v_stride = v.shape().back();
  for (const SequenceRows& s : rows)
    work.pool.run(s.rows * shape.heads, [&](size_t i) {
      const size_t t = i / shape.heads, h = i % shape.heads;
      const double* keys = k.data<double>() + s.row * k_stride + h / group * d;
      const double* values = v.data<double>() + s.row * v_stride + h / group * dv;
      ref::attend(
          out.data<double>() + (s.row + t) * shape.heads * dv + h * dv,
          q.data<double>() + (s.row + t) * shape.heads * d + h * d, d, dv, t + 1, static_cast<double>(shape.scale),
          [&](size_t b, size_t j, size_t c) { return keys[(b * kPagePositions + j) * k_stride + c]; },
          [&](size_t b, size_t j, size_t c) { return values[(b * kPagePositions + j) * v_stride + c]; });
    });
}

}  // namespace fathom
