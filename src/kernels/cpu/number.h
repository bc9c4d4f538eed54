// The kernels that exist for both number types, by one name: a table's for float, kernels/ref's for double (finite
// differences).
#pragma once
#include "kernels/kernels.h"
#include "kernels/ref/backward.h"
#include "kernels/ref/rows.h"

namespace fathom {

template <class F>
struct Math;

template <>
struct Math<float> {
  const Kernels& k;
  void softmax(float* y, const float* x, size_t n) const { k.softmax(y, x, n); }
  void sigmoid(float* y, const float* x, size_t n) const { k.sigmoid(y, x, n); }
  float log_sum_exp(const float* x, size_t n) const { return k.log_sum_exp(x, n); }
  void exp_scaled(float* y, const float* x, size_t n, float shift, float factor) const {
    k.exp_scaled(y, x, n, shift, factor);
  }
  void softmax_backward(float* dx, const float* p, const float* dp, size_t n, float scale) const {
    k.softmax_backward(dx, p, dp, n, scale);
  }
  void multiply_add(float* c, size_t c_stride, const float* a, size_t a_row, size_t a_col, const float* b,
                    size_t b_stride, size_t M, size_t N, size_t K) const {
    k.multiply_add(c, c_stride, a, a_row, a_col, b, b_stride, M, N, K);
  }
  void rms_norm_backward(float* dx, float* r, const float* dy, const float* x, const float* w, size_t T, size_t D,
                         float eps) const {
    k.rms_norm_backward(dx, r, dy, x, w, T, D, eps);
  }
  void rms_norm_backward_weight(float* dw, const float* r, const float* dy, const float* x, size_t T, size_t D,
                                size_t begin, size_t end) const {
    k.rms_norm_backward_weight(dw, r, dy, x, T, D, begin, end);
  }
  void silu_mul_backward(float* dgate, float* dup, const float* dy, const float* gate, const float* up,
                         size_t n) const {
    k.silu_mul_backward(dgate, dup, dy, gate, up, n);
  }
  void add(float* y, const float* a, const float* b, size_t n) const { k.add(y, a, b, n); }
  void rope(float* x, size_t heads, size_t stride, size_t half, const float* cos, const float* sin,
            bool interleaved) const {
    k.rope(x, heads, stride, half, cos, sin, interleaved);
  }
};

template <>
struct Math<double> {
  const Kernels& k;  // not used: only ref computes in double
  void softmax(double* y, const double* x, size_t n) const { ref::softmax(y, x, n); }
  void sigmoid(double* y, const double* x, size_t n) const { ref::sigmoid(y, x, n); }
  double log_sum_exp(const double* x, size_t n) const { return ref::log_sum_exp(x, n); }
  void exp_scaled(double* y, const double* x, size_t n, double shift, double factor) const {
    ref::exp_scaled(y, x, n, shift, factor);
  }
  void softmax_backward(double* dx, const double* p, const double* dp, size_t n, double scale) const {
    ref::softmax_backward(dx, p, dp, n, scale);
  }
  void multiply_add(double* c, size_t c_stride, const double* a, size_t a_row, size_t a_col, const double* b,
                    size_t b_stride, size_t M, size_t N, size_t K) const {
    ref::multiply_add(c, c_stride, a, a_row, a_col, b, b_stride, M, N, K);
  }
  void rms_norm_backward(double* dx, double* r, const double* dy, const double* x, const double* w, size_t T, size_t D,
                         double eps) const {
    ref::rms_norm_backward(dx, r, dy, x, w, T, D, eps);
  }
  void rms_norm_backward_weight(double* dw, const double* r, const double* dy, const double* x, size_t T, size_t D,
                                size_t begin, size_t end) const {
    ref::rms_norm_backward_weight(dw, r, dy, x, T, D, begin, end);
  }
  void silu_mul_backward(double* dgate, double* dup, const double* dy, const double* gate, const double* up,
                         size_t n) const {
    ref::silu_mul_backward(dgate, dup, dy, gate, up, n);
  }
  void add(double* y, const double* a, const double* b, size_t n) const { ref::add(y, a, b, n); }
  void rope(double* x, size_t heads, size_t stride, size_t half, const double* cos, const double* sin,
            bool interleaved) const {
    ref::rope(x, heads, stride, half, cos, sin, interleaved);
  }
};

}  // namespace fathom
