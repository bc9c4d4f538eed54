#include "ops/linear.h"

#include "ops/adapter.h"

namespace fathom {

bool is_trained(const Context& ctx, const Weight& w) {
  if (ctx.adapter) return false;
  return w.dtype() == DType::kF32 || w.dtype() == DType::kF64 || w.dtype() == DType::kBF16;
}

std::vector<uint32_t> sequence_ends(const Context& ctx, const Weight& w, size_t rows) {
  const bool pairs = linear_form(ctx.profile, w.dtype()) == LinearForm::kBF16 && !w.always_exact &&
                     w.dtype() != DType::kF64 && info(w.dtype()).block_size == 1;
  std::vector<uint32_t> ends;
  if (!pairs || rows == 0) return ends;
  if (!ctx.training) return {static_cast<uint32_t>(rows)};
  for (const SequenceRows& s : ctx.training->rows) ends.push_back(static_cast<uint32_t>(s.row + s.rows));
  check(!ends.empty() && ends.back() == rows, "the sequences of the forward are all rows");
  return ends;
}

LinearBackward backward_of(const Weight& w, bool trained, size_t T, const Tensor& dy, const Tensor& x, Gradients& grads,
                           std::span<const uint32_t> sequence_ends) {
  return {.w = &w,
          .T = T,
          .dy = dy,
          .dy_stride = w.O(),
          .x = x,
          .x_stride = w.K(),
          .dx = grads.of(x),
          .dx_stride = w.K(),
          .dw = trained ? grads.of(w) : Tensor(),
          .sequence_ends = sequence_ends};
}

namespace {

void check_use(const Tensor& x, const LinearUse& use) {
  if (x.shape().back() != use.w->K())
    throw Error(cat("tensor ", use.w->name(), ": expected rows of ", x.shape().back(), " values, found ", use.w->K()));
  if (use.bias) require_shape(use.w->name() + " (bias)", *use.bias, {use.w->O()});
}

void record(Context& ctx, const Tensor& y, const Tensor& x, const LinearUse& use) {
  // The bias is kept by its handle; weights belong to a snapshot that outlives the step.
  const Tensor bias = use.bias ? *use.bias : Tensor();
  ctx.tape->record(y,
                   [x, bias, w = use.w, trained = is_trained(ctx, *use.w), ends = sequence_ends(ctx, *use.w, x.rows()),
                    &backend = ctx.backend](const Tensor& dy, Gradients& grads) {
                     const LinearBackward task = backward_of(*w, trained, x.rows(), dy, x, grads, ends);
                     backend.linear_backward({&task, 1});
                     if (bias.defined()) backend.add_bias_backward(grads.of(bias), dy);
                   });
}

void record_heads(Context& ctx, const Tensor& y, const Tensor& x, size_t x_offset, std::span<const Weight> w,
                  const Tensor& columns) {
  ctx.tape->record(y,
                   [x, x_offset, w, columns, trained = is_trained(ctx, w[0]), ends = sequence_ends(ctx, w[0], x.rows()),
                    &backend = ctx.backend](const Tensor& dy, Gradients& grads) {
                     const size_t heads = w.size(), T = x.rows(), K = w[0].K();
                     const size_t x_head_dim = x.shape().back() / heads, y_head_dim = dy.shape().back() / heads;
                     std::vector<LinearBackward> tasks;
                     for (size_t h = 0; h < heads; ++h)
                       tasks.push_back({.w = &w[h],
                                        .T = T,
                                        .dy = dy,
                                        .dy_offset = h * y_head_dim,
                                        .dy_stride = heads * y_head_dim,
                                        .x = columns,
                                        .x_offset = h * T * K,
                                        .x_stride = K,
                                        .dx = grads.of(x),
                                        .dx_offset = h * x_head_dim + x_offset,
                                        .dx_stride = heads * x_head_dim,
                                        .dw = trained ? grads.of(w[h]) : Tensor(),
                                        .sequence_ends = ends});
                     backend.linear_backward(tasks);
                   });
}

void compute(Context& ctx, const LinearInput& x, std::span<const LinearUse> uses, std::span<Tensor> ys,
             std::span<LinearTask> tasks) {
  for (size_t i = 0; i < uses.size(); ++i) {
    const Weight& w = *uses[i].w;
    check_use(x.x(), uses[i]);
    if (ctx.observer) ctx.observer->linear_input(w, x.x());
    ys[i] = ctx.make(x.x().dtype(), {x.rows(), w.O()});
    tasks[i] = {ys[i], 0, 0, w.O(), &w, &x.operand_for(w), 0, x.rows()};
  }
  ctx.backend.linear(tasks);
  for (size_t i = 0; i < uses.size(); ++i) {
    if (uses[i].bias) ctx.backend.add_bias(ys[i], *uses[i].bias);
    if (ctx.tape) record(ctx, ys[i], x.x(), uses[i]);
    add_low_ranks(ctx, ys[i], x, uses[i].w->name());
  }
}

}  // namespace

const LinearOperand& LinearInput::operand(LinearForm form) const {
  const auto i = static_cast<size_t>(form);
  LinearOperand& out = forms_[i];
  if (made_[i]) return out;
  const size_t T = x_.rows(), K = x_.shape().back();
  out.form = form;
  if (form == LinearForm::kBF16) out.half = ctx_->make(DType::kBF16, {T, K});
  if (form == LinearForm::kInt8Block32 || form == LinearForm::kInt8Block256) {
    const size_t block = form == LinearForm::kInt8Block32 ? 32 : 256;
    out.q = ctx_->make(DType::kI8, {T, K});
    out.d = ctx_->make(DType::kF32, {T, (K + block - 1) / block});
    out.sums = ctx_->make(DType::kI16, {T, (K + 15) / 16});
  }
  ctx_->backend.prepare(out, x_);
  made_[i] = true;
  return out;
}

const LinearOperand& LinearInput::operand_for(const Weight& w) const {
  return operand(w.always_exact || x_.dtype() == DType::kF64 ? LinearForm::kExact
                                                             : linear_form(ctx_->profile, w.dtype()));
}

template <size_t N>
std::array<Tensor, N> linears(Context& ctx, const LinearInput& x, const std::array<LinearUse, N>& uses) {
  std::array<Tensor, N> ys;
  std::array<LinearTask, N> tasks;
  compute(ctx, x, uses, ys, tasks);
  return ys;
}
template std::array<Tensor, 1> linears(Context&, const LinearInput&, const std::array<LinearUse, 1>&);
template std::array<Tensor, 2> linears(Context&, const LinearInput&, const std::array<LinearUse, 2>&);
template std::array<Tensor, 3> linears(Context&, const LinearInput&, const std::array<LinearUse, 3>&);

void head_linears(Context& ctx, const Tensor& y, const Tensor& x, size_t x_offset, std::span<const Weight> w) {
  const size_t heads = w.size(), T = x.rows(), K = w[0].K();
  const size_t x_head_dim = x.shape().back() / heads, y_head_dim = y.shape().back() / heads;
  check(x_offset + K <= x_head_dim && w[0].O() <= y_head_dim, "a head's part fits into its head");
  const Tensor columns = ctx.make(x.dtype(), {heads * T, K});
  ctx.backend.split_heads(columns.reshaped({heads, T, K}), x, heads, x_head_dim, x_offset);
  const LinearInput in(ctx, columns);
  thread_local std::vector<LinearTask> tasks;  // kept, since a token is not to allocate
  tasks.clear();                               // an observer may have thrown
  for (size_t h = 0; h < heads; ++h) {
    if (ctx.observer) ctx.observer->linear_input(w[h], columns.slice(h * T, T));
    tasks.push_back({y, 0, h * y_head_dim, heads * y_head_dim, &w[h], &in.operand_for(w[h]), h * T, T});
  }
  ctx.backend.linear(tasks);
  tasks.clear();
  if (ctx.tape) record_heads(ctx, y, x, x_offset, w, columns);
}

Tensor linear(Context& ctx, const LinearInput& x, const Weight& w, const Tensor* bias) {
  return linears<1>(ctx, x, {LinearUse{&w, bias}})[0];
}

Tensor linear(Context& ctx, const Tensor& x, const Weight& w, const Tensor* bias) {
  return linear(ctx, LinearInput(ctx, x), w, bias);
}

}  // namespace fathom
