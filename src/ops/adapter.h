// LoRA: a low-rank addition to the linears of a frozen model. ops/linear.cc looks the context's adapter up for each
// weight, or those of its rows; models/adapter.h makes one from a file, train/adapter_masters.h trains one. Immutable
// once filled: any number of threads may read it. Source: arXiv:2106.09685.
#pragma once
#include <string>

#include "base/seeded_hash.h"
#include "ops/linear.h"

namespace fathom {

/// What one weight W [O, K] gets: y = (W x + bias) + scale * (B (A x)), whatever form the base computes in.
struct LowRank {
  Weight a;         ///< A [r, K]
  Weight b;         ///< B [O, r]
  float scale = 1;  ///< alpha / r
};

class Adapter {
 public:
  /// Of the weight with this checkpoint name. A and B are f32 (f64 for finite differences) and computed as `exact`.
  void add(const std::string& weight, LowRank low_rank) {
    check(low_rank.a.O() == low_rank.b.K(), "A and B have one rank");
    low_rank.a.always_exact = low_rank.b.always_exact = true;
    check(low_ranks_.emplace(weight, std::move(low_rank)).second, "a weight has one adapter");
  }
  /// Null: the weight is not adapted.
  const LowRank* find(const std::string& weight) const {
    const auto found = low_ranks_.find(weight);
    return found == low_ranks_.end() ? nullptr : &found->second;
  }
  size_t size() const { return low_ranks_.size(); }  ///< adapted weights

 private:
  NameMap<LowRank> low_ranks_;
};

/// y += scale * (B (A x)) with what the context's adapter has for the weight of this name, or with what the adapters of
/// its rows have for theirs: x [T, K], y [T, O], which a linear of x made. A and B read the unquantised input, each as
/// one chain; the product with scale is rounded before it is added (spec/numerics.md 5): a row gets the same bits
/// whoever else is in the batch. With a tape, A and B get gradients.
void add_low_ranks(Context& ctx, const Tensor& y, const LinearInput& x, const std::string& weight);

}  // namespace fathom
