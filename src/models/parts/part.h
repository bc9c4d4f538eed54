// The exchangeable halves of a decoder layer: attention and feed-forward.
#pragma once
#include "ops/attention.h"
#include "ops/linear.h"
#include "ops/rope.h"

namespace fathom {

/// What all layers of one forward share.
struct ForwardState {
  std::span<const SequenceRows> rows;
  RopeAngles angles;
};

class Attention {
 public:
  virtual ~Attention() = default;
  /// x [T, D], already normed -> [T, D]; stores T positions in the layer's cache.
  virtual Tensor forward(Context& ctx, const Tensor& x, const ForwardState& state, const LayerCache& cache) const = 0;
};

class FeedForward {
 public:
  virtual ~FeedForward() = default;
  /// x [T, D], already normed -> [T, D].
  virtual Tensor forward(Context& ctx, const Tensor& x) const = 0;
};

}  // namespace fathom
