// Backward of linears: in f32, and in pairs of bf16 (spec/numerics.md 8). The pool shares outputs, never tokens.
#include <algorithm>
#include <vector>

#include "kernels/cpu/backward.h"
#include "kernels/ref/backward.h"

namespace fathom {
namespace {

constexpr size_t kRowsOfItem = 96;     // of an input's gradient: enough to pay for a slice of weights in another layout
constexpr size_t kWeightRows = 384;    // of a weight's gradient: each item reads its columns of x anew
constexpr size_t kWeightColumns = 64;  // a multiple of sixteen lanes
constexpr size_t kTileRows = 12;       // a multiple of every tile's rows
constexpr size_t kPairsOfItem = 32;

/// Outputs are cut evenly, into fewer rows only where the pool would be short of items.
size_t rows_of_weight_items(size_t O, size_t columns, size_t threads) {
  const size_t wanted = std::min(pieces(O, kWeightRows / 4), pieces(threads, columns));
  const size_t parts = std::max(pieces(O, kWeightRows), wanted);
  return pieces(pieces(O, parts), kTileRows) * kTileRows;
}

/// Of double weights: row-major, plain loops.
void linear_backward_f64(const LinearBackward& task) {
  const size_t K = task.w->K(), O = task.w->O();
  const Tensor values = task.w->row_major();
  const double *dy = task.dy.data<double>() + task.dy_offset, *x = task.x.data<double>() + task.x_offset;
  if (task.dx.defined())
    ref::multiply_add(task.dx.data<double>() + task.dx_offset, task.dx_stride, dy, task.dy_stride, 1,
                      values.data<double>(), K, task.T, K, O);
  if (task.dw.defined())
    ref::multiply_add(task.dw.data<double>(), K, dy, 1, task.dy_stride, x, task.x_stride, O, K, task.T);
}

/// The operands of a task as pairs, a dword each, the even value in the low half.
struct Pairs {
  struct Rows {
    size_t first;
    bool both;  ///< else the second is 0
  };
  const LinearBackward* task;
  std::vector<Rows> rows;      // of tokens: within sequences
  Tensor dy_outputs;           // [T, ceil(O / 2)]: for dx
  Tensor dy_tokens, x_tokens;  // [rows.size(), O] and [rows.size(), K]: for dw

  explicit Pairs(const LinearBackward& of) : task(&of) {
    const size_t O = of.w->O(), K = of.w->K();
    size_t begin = 0;
    for (const uint32_t end : of.sequence_ends) {
      for (size_t t = begin; t < end; t += 2) rows.push_back({t, t + 1 < end});
      begin = end;
    }
    check(begin == of.T, "the last sequence ends with the rows");
    if (of.dx.defined()) dy_outputs = make_tensor(DType::kI32, {of.T, pieces(O, 2)});
    if (of.dw.defined()) {
      dy_tokens = make_tensor(DType::kI32, {rows.size(), O});
      x_tokens = make_tensor(DType::kI32, {rows.size(), K});
    }
  }

  static uint32_t* dwords(const Tensor& t) { return reinterpret_cast<uint32_t*>(t.bytes()); }

  /// Fills what belongs to pairs [begin, end) of rows.
  void fill(const Kernels& k, size_t begin, size_t end) const {
    const size_t O = task->w->O(), K = task->w->K(), dy_stride = task->dy_stride, x_stride = task->x_stride;
    const float *dy = task->dy.data<float>() + task->dy_offset, *x = task->x.data<float>() + task->x_offset;
    for (size_t p = begin; p < end; ++p) {
      const Rows& r = rows[p];
      if (dy_outputs.defined())
        for (size_t t = r.first; t <= r.first + r.both; ++t) {
          auto* halves = reinterpret_cast<uint16_t*>(dwords(dy_outputs) + t * pieces(O, 2));
          k.round_bf16(halves, dy + t * dy_stride, O);
          if (O % 2) halves[O] = 0;
        }
      if (!dy_tokens.defined()) continue;
      join(k, dwords(dy_tokens) + p * O, dy + r.first * dy_stride, r.both ? dy_stride : 0, O);
      join(k, dwords(x_tokens) + p * K, x + r.first * x_stride, r.both ? x_stride : 0, K);
    }
  }

 private:
  /// out[i] = row[i] and row[i + to_second]; 0: there is no second row.
  static void join(const Kernels& k, uint32_t* out, const float* row, size_t to_second, size_t n) {
    auto* even = reinterpret_cast<uint16_t*>(thread_scratch(n + 1));
    uint16_t* odd = even + n;
    k.round_bf16(even, row, n);
    if (to_second)
      k.round_bf16(odd, row + to_second, n);
    else
      std::fill_n(odd, n, uint16_t{0});
    for (size_t i = 0; i < n; ++i) out[i] = even[i] | static_cast<uint32_t>(odd[i]) << 16;
  }
};

struct Item {
  const LinearBackward* task;
  const Pairs* pairs;  // null: f32
  bool of_weight;
  size_t row, rows, column, columns;  // of dx: tokens and k; of dw: outputs and k
};

void run_input(const Kernels& k, const Item& item) {
  const LinearBackward& task = *item.task;
  float* dx = task.dx.data<float>() + task.dx_offset + item.row * task.dx_stride;
  const size_t end = item.column + item.columns;
  float* scratch = thread_scratch(kBackwardScratch);
  if (item.pairs) {
    const size_t stride = pieces(task.w->O(), 2);
    return k.linear_backward_input_bf16(dx, task.dx_stride, task.w->view(), item.column, end,
                                        Pairs::dwords(item.pairs->dy_outputs) + item.row * stride, stride, item.rows,
                                        reinterpret_cast<uint32_t*>(scratch));
  }
  const float* dy = task.dy.data<float>() + task.dy_offset + item.row * task.dy_stride;
  k.linear_backward_input(dx, task.dx_stride, task.w->view(), item.column, end, dy, task.dy_stride, item.rows, scratch);
}

void run_weight(const Kernels& k, const Item& item) {
  const LinearBackward& task = *item.task;
  const size_t K = task.w->K(), O = task.w->O();
  float* dw = task.dw.data<float>() + item.row * K + item.column;
  if (const Pairs* p = item.pairs)
    return k.multiply_add_bf16(dw, K, Pairs::dwords(p->dy_tokens) + item.row, 1, O,
                               Pairs::dwords(p->x_tokens) + item.column, K, item.rows, item.columns, p->rows.size());
  k.multiply_add(dw, K, task.dy.data<float>() + task.dy_offset + item.row, 1, task.dy_stride,
                 task.x.data<float>() + task.x_offset + item.column, task.x_stride, item.rows, item.columns, task.T);
}

void add_items(std::vector<Item>& items, const LinearBackward& task, const Pairs* pairs, size_t threads) {
  const size_t K = task.w->K(), O = task.w->O();
  if (task.dx.defined()) {
    const size_t slices = pieces(K, kBackwardSlice);
    // Cut tokens only as far as the pool needs it: each piece lays out the weights anew.
    const size_t parts = std::max<size_t>(1, std::min(pieces(task.T, kRowsOfItem), pieces(2 * threads, slices)));
    const size_t rows = pieces(task.T, parts);
    for (size_t k = 0; k < K; k += kBackwardSlice)
      for (size_t t = 0; t < task.T; t += rows)
        items.push_back({&task, pairs, false, t, std::min(rows, task.T - t), k, std::min(kBackwardSlice, K - k)});
  }
  if (task.dw.defined() && task.T != 0) {
    const size_t rows = rows_of_weight_items(O, pieces(K, kWeightColumns), threads);
    for (size_t o = 0; o < O; o += rows)
      for (size_t k = 0; k < K; k += kWeightColumns)
        items.push_back({&task, pairs, true, o, std::min(rows, O - o), k, std::min(kWeightColumns, K - k)});
  }
}

/// The pairs of every task that computes in bf16, in order.
std::vector<Pairs> pairs_of(const CpuWork& work, std::span<const LinearBackward> tasks) {
  struct Part {
    size_t task, begin, end;
  };
  std::vector<Pairs> out;
  std::vector<Part> parts;
  for (const LinearBackward& task : tasks) {
    if (task.sequence_ends.empty()) continue;
    const size_t n = out.emplace_back(task).rows.size();
    for (size_t p = 0; p < n; p += kPairsOfItem) parts.push_back({out.size() - 1, p, std::min(n, p + kPairsOfItem)});
  }
  work.pool.run(parts.size(), [&](size_t i) { out[parts[i].task].fill(work.k, parts[i].begin, parts[i].end); });
  return out;
}

}  // namespace

void cpu_linear_backward(const CpuWork& work, std::span<const LinearBackward> tasks) {
  const std::vector<Pairs> all_pairs = pairs_of(work, tasks);
  size_t next = 0;
  std::vector<Item> items;
  for (const LinearBackward& task : tasks)
    if (task.w->dtype() == DType::kF64)
      linear_backward_f64(task);
    else
      add_items(items, task, task.sequence_ends.empty() ? nullptr : &all_pairs[next++], work.pool.size());
  work.pool.run(items.size(), [&](size_t i) {
    if (items[i].of_weight)
      run_weight(work.k, items[i]);
    else
      run_input(work.k, items[i]);
  });
}

}  // namespace fathom
