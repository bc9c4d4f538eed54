#include "autograd/finite_difference.h"

#include <algorithm>
#include <cmath>

namespace fathom {

double gradient_error(const Tensor& x, const Tensor& analytic, FunctionRef<double()> loss, double h) {
  check(x.dtype() == DType::kF64 && analytic.shape() == x.shape(), "finite differences run in double");
  double worst = 0, largest = 1e-8;
  for (size_t i = 0; i < x.count(); ++i) {
    double& entry = x.data<double>()[i];
    const double kept = entry;
    entry = kept + h;
    const double above = loss();
    entry = kept - h;
    const double below = loss();
    entry = kept;
    const double numeric = (above - below) / (2 * h);
    worst = std::max(worst, std::abs(numeric - analytic.data<double>()[i]));
    largest = std::max(largest, std::abs(numeric));
  }
  return worst / largest;
}

}  // namespace fathom
