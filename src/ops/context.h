// What every op needs to know: where to compute, how, where results live, and who watches. Made per forward; models
// pass it along. One thread.
#pragma once
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "autograd/tape.h"
#include "kernels/backend.h"
#include "tensor/tensor.h"

namespace fathom {

/// Sees values in passing, without a second forward: `fathom logits --layers`, importance matrices.
class Observer {
 public:
  virtual ~Observer() = default;
  virtual void layer_output(size_t /*layer*/, const Tensor& /*x*/) {}
  virtual void linear_input(const Weight& /*w*/, const Tensor& /*x*/) {}
};

/// Two arenas in turn: what layer n made lives until layer n + 2 begins, so a layer's output survives the next layer;
/// and one for what all layers of a forward read.
class LayerArenas {
 public:
  Allocator& current() { return arenas_[index_]; }
  Allocator& forward() { return forward_; }
  void begin_forward() { forward_.reset(); }
  /// Switches to the other arena and forgets what was in it.
  void next() {
    index_ ^= 1;
    arenas_[index_].reset();
  }
  size_t capacity_bytes() const {
    return arenas_[0].capacity_bytes() + arenas_[1].capacity_bytes() + forward_.capacity_bytes();
  }

 private:
  Arena arenas_[2], forward_;
  int index_ = 0;
};

/// How many tokens of a step each expert of a router got.
struct ExpertLoad {
  std::string gate;  ///< the name of the router's weight
  std::vector<int64_t> counts;
};

/// The experts that a router gave to the rows of a forward.
struct ExpertChoice {
  std::string gate;          ///< the name of the router's weight
  std::vector<int32_t> ids;  ///< [T, top_k]
};

class Adapter;

/// Rows [row, row + rows) of a batch are of a sequence, or several, with this adapter.
struct AdapterRows {
  size_t row = 0, rows = 0;
  const Adapter* adapter = nullptr;  ///< never null
};

/// What a training step wants of a forward beside the tape.
struct TrainingPass {
  double balance_weight = 0;  ///< of a sequence's balance loss: alpha / sequences of the step; 0: none
  bool recompute = false;     ///< keep only the layers' inputs and compute the rest again in the backward
  /// Every router takes these experts instead of choosing; null: they choose.
  const std::vector<ExpertChoice>* kept_choices = nullptr;
  bool note_choices = false;  ///< add to `choices` what the routers of each forward chose
  // ---- results, added up over the forwards of a step
  double balance_loss = 0;
  std::vector<ExpertLoad> loads;
  std::vector<ExpertChoice> choices;
  // ---- set on the way
  std::span<const SequenceRows> rows;  ///< of the forward that runs
  bool recomputing = false;            ///< inside the backward: results have been added already
};

struct Context {
  Backend& backend;
  Profile profile = Profile::kExact;
  LayerArenas* arenas = nullptr;  ///< null: tensors come from the heap, as a tape needs them
  Tape* tape = nullptr;           ///< null at inference: nothing recorded, nothing kept alive
  Observer* observer = nullptr;
  TrainingPass* training = nullptr;  ///< null at inference
  /// Of all rows; null: none. With a tape it is what is trained, and every other weight is frozen.
  const Adapter* adapter = nullptr;
  /// Instead: of some rows of the batch that a forward runs, each at most once; at inference.
  std::span<const AdapterRows> adapter_rows = {};
  /// Asked before every layer whether the forward is still wanted; null: it is.
  const std::function<bool()>* stop = nullptr;

  Tensor make(DType dtype, const Shape& shape) {
    return arenas && !tape ? arenas->current().make(dtype, shape) : make_tensor(dtype, shape);
  }
  Tensor like(const Tensor& t) { return make(t.dtype(), t.shape()); }
  /// A tensor that lives until the next forward begins.
  Tensor make_for_forward(DType dtype, const Shape& shape) {
    return arenas && !tape ? arenas->forward().make(dtype, shape) : make_tensor(dtype, shape);
  }
  void begin_forward() {
    if (arenas && !tape) arenas->begin_forward();
  }
  void begin_layer() {
    if (arenas && !tape) arenas->next();
  }
};

}  // namespace fathom
