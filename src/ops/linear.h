// Linear layers: y = x W^T (+ bias), for weights of any storage type.
#pragma once
#include <array>

#include "ops/context.h"

namespace fathom {

/// The input of one or more linears: rows [T, K], and each quantised or rounded form of them, made when first asked for
/// and shared: Q, K and V, or gate and up, quantise their input once.
class LinearInput {
 public:
  LinearInput(Context& ctx, Tensor x) : ctx_(&ctx), x_(std::move(x)) {}
  const Tensor& x() const { return x_; }
  size_t rows() const { return x_.rows(); }
  const LinearOperand& operand(LinearForm form) const;
  /// The form that w asks for in the context's profile.
  const LinearOperand& operand_for(const Weight& w) const;

 private:
  Context* ctx_;
  Tensor x_;
  mutable std::array<LinearOperand, 4> forms_;
  mutable std::array<bool, 4> made_{};
};

/// y[t, o] = sum over k of w[o, k] x[t, k] (+ bias[o]): [T, K] -> [T, O] f32. Order of sums and rounding by profile:
/// spec/numerics.md 2 to 4; the bias is added once, after, and then what the context's adapters have for w
/// (ops/adapter.h). `bias` null: none.
/// Throws Error if K differs or the bias is not [O].
Tensor linear(Context& ctx, const LinearInput& x, const Weight& w, const Tensor* bias = nullptr);
Tensor linear(Context& ctx, const Tensor& x, const Weight& w, const Tensor* bias = nullptr);

/// Several linears of one input in one pass over the pool: the same bits as one by one.
struct LinearUse {
  const Weight* w = nullptr;
  const Tensor* bias = nullptr;
};
template <size_t N>
std::array<Tensor, N> linears(Context& ctx, const LinearInput& x, const std::array<LinearUse, N>& uses);

/// One linear per head: y[t, h, o] = sum over k of w[h][o, k] x[t, h, x_offset + k], written to the first O values of
/// each of the heads of y [T, H * y_head_dim]; x [T, H * x_head_dim]. For the absorbed projections of MLA.
void head_linears(Context& ctx, const Tensor& y, const Tensor& x, size_t x_offset, std::span<const Weight> w);

/// Whether training gives w a gradient: plain floats, not quantised types, and nothing beside an adapter.
bool is_trained(const Context& ctx, const Weight& w);
/// LinearBackward::sequence_ends for products with w of all `rows` rows of the forward that runs: the ends of its
/// sequences in profile bf16; empty where the backward is f32, also for quantised types, which pass their f32 values
/// on.
std::vector<uint32_t> sequence_ends(const Context& ctx, const Weight& w, size_t rows);
/// The backward of y = x W^T for T rows of x, dy and dx from their starts on.
LinearBackward backward_of(const Weight& w, bool trained, size_t T, const Tensor& dy, const Tensor& x, Gradients& grads,
                           std::span<const uint32_t> sequence_ends);

}  // namespace fathom
