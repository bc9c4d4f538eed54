// A weight of a linear: immutable, packed into the panels that kernels read. Made once at load (or per trainer
// snapshot).
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "kernels/kernels.h"
#include "tensor/tensor.h"

namespace fathom {

/// What the panels of a matrix take; K in whole blocks.
size_t packed_bytes(DType dtype, size_t O, size_t K);

class Weight {
 public:
  Weight() = default;
  /// Packs a stored matrix [O, K] (f64 too, for finite differences); scale_inv for F8_E4M3 only. `pool` shares the
  /// work, null: this thread does it; the bytes are the same. Throws Error if the type cannot be a linear's weight or K
  /// is not a multiple of the type's block.
  Weight(std::string name, const Tensor& stored, Tensor scale_inv = {}, ThreadPool* pool = nullptr);

  /// Of panels that such a packing gave, `packed_bytes` of them.
  Weight(std::string name, DType dtype, size_t O, size_t K, Tensor panels, Tensor scale_inv = {});

  const std::string& name() const { return name_; }
  DType dtype() const { return view_.dtype; }
  size_t O() const { return view_.O; }
  size_t K() const { return view_.K; }
  const WeightView& view() const { return view_; }
  size_t size_bytes() const { return panels_.defined() ? view_.panels() * view_.panel_bytes() : 0; }
  /// Computed as `exact` in every profile: the router, and what was split out of a joined kv_b.
  bool always_exact = false;
  /// Where its values lie in the checkpoint's matrix `name`: from this row on; `transposed`: as its columns.
  size_t stored_row = 0;
  bool transposed = false;

  /// Row o as f32 (embedding lookup): K values, dequantised as stored.
  void row(size_t o, float* out) const;
  /// [O, K] f32 (f64 stays f64), dequantised: for training, tests and the other direction of a tied head.
  Tensor row_major() const;

 private:
  std::string name_;
  Tensor panels_, scale_inv_;
  WeightView view_;
};

}  // namespace fathom
