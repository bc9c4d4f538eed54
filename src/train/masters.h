// The f32 masters of a model's parameters, and the snapshots made of them: a trainer changes the masters, computes with
// an immutable model packed from them, and adds up what each use of a parameter got as gradient. One thread.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "autograd/tape.h"
#include "formats/checkpoint.h"
#include "models/model.h"
#include "train/parameter.h"

namespace fathom {

/// New weights: matrices from a normal distribution of standard deviation `std`, norms 1, biases 0; the numbers of a
/// tensor depend on seed and name alone.
struct NewWeights {
  double std = 0.02;
  uint64_t seed = 0;
};

class Masters {
 public:
  /// Copies of a checkpoint's tensors, as f32. Throws Error for GGUF's form of MLA, and where load_model does.
  static Masters from(const Checkpoint& checkpoint, size_t threads);
  /// Throws Error where the architecture is not known.
  static Masters draw(const ModelConfig& config, const NewWeights& weights, size_t threads);

  /// No parameters: of a model whose weights are not trained.
  static Masters none(const ModelConfig& config);

  const ModelConfig& config() const { return config_; }
  /// In the order of their names. What training gives a gradient; the router's bias is apart.
  std::vector<Parameter>& parameters() { return parameters_; }
  const std::vector<Parameter>& parameters() const { return parameters_; }
  /// e_score_correction_bias of each router: moved by the balance rule, never by a gradient.
  std::vector<Parameter>& router_biases() { return router_biases_; }
  const std::vector<Parameter>& router_biases() const { return router_biases_; }
  /// The parameter or router bias of that name; null where there is none.
  Parameter* find(const std::string& name);
  uint64_t count() const;  ///< numbers in all parameters
  /// The same model with other values, by "PREFIX.NAME", whose memory it shares; the router biases stay shared too.
  Masters with_values(const NamedTensors& values) const;

  /// A model packed from the masters as they are now. For profile bf16 the matrices whose products it rounds are stored
  /// as bf16; a tied embedding stays f32, of which rows are read too.
  std::unique_ptr<const Model> snapshot(size_t threads, Profile profile = Profile::kExact) const;
  /// Gradients of all parameters, in their order and shapes: the buffers of each use added in the order of use, the
  /// heads of kv_b_proj put back into one matrix. `model` is the snapshot that the gradients belong to. A parameter
  /// that nothing used has zeros.
  std::vector<Tensor> gather(const Model& model, Gradients& gradients) const;

 private:
  Masters() = default;
  ModelConfig config_;
  std::vector<Parameter> parameters_, router_biases_;
};

}  // namespace fathom
