// The independent check of every backward: central differences in double.
#pragma once
#include "base/function_ref.h"
#include "tensor/tensor.h"

namespace fathom {

/// Largest |analytic - numeric| over the entries of x, relative to the largest |numeric| (at least 1e-8), where
/// numeric = (loss(x + h e_i) - loss(x - h e_i)) / 2h and x (f64) is changed in place and restored.
double gradient_error(const Tensor& x, const Tensor& analytic, FunctionRef<double()> loss, double h = 1e-5);

}  // namespace fathom
