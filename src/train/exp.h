// exp in double for losses, with the same bits on every machine. Pure.
#pragma once
#include "sampling/fixed_exp.h"

namespace fathom {

/// e^x within 2 ulp: fixed_exp for x <= 0, its reciprocal above; exp_any(0) is exactly 1.
inline double exp_any(double x) { return x > 0 ? 1 / fixed_exp(-x) : fixed_exp(x); }

}  // namespace fathom
