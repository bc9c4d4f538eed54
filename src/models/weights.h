// The weights of a model: an immutable snapshot once loaded, shared by the engine and the requests in flight. The
// loader fills it while an architecture asks for its tensors by their Hugging Face names.
#pragma once
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/thread_pool.h"
#include "formats/checkpoint.h"
#include "kernels/weight.h"
#include "models/repack_file.h"

namespace fathom {

/// Owns packed matrices and f32 vectors; addresses stay valid for its life.
class Weights {
 public:
  const Weight& add(Weight weight);
  std::span<const Weight> add(std::vector<Weight> stack);
  /// Every matrix, in the order of adding.
  std::span<const Weight* const> in_order() const { return in_order_; }
  /// Another use of a matrix that was added, sharing its memory: a tied head, or what the MTP module shares. Training
  /// gives each use a gradient of its own (spec/numerics.md 8).
  const Weight& add_use(const Weight& weight) { return uses_.emplace_back(weight); }
  const std::deque<Weight>& further_uses() const { return uses_; }
  /// Norms and biases by their names, in the order of adding.
  const Tensor& add_vector(const std::string& name, Tensor vector);
  std::span<const std::pair<std::string, Tensor>> vectors() const { return vectors_; }
  uint64_t size_bytes() const;
  /// Bytes by storage type, and the share of them that has an int8 form, for the choice of the profile (numerics.md 1).
  uint64_t bytes_of(const std::function<bool(DType)>& which) const;

 private:
  std::deque<Weight> matrices_, uses_;
  std::vector<std::pair<std::string, Tensor>> vectors_;
  std::deque<std::vector<Weight>> stacks_;
  std::vector<const Weight*> in_order_;
};

/// Bytes done and in all, called now and then while weights are packed.
using LoadProgress = std::function<void(uint64_t done, uint64_t total)>;

/// How weights are loaded; what is loaded does not depend on it.
struct LoadOptions {
  LoadProgress progress;
  size_t threads = 1;              ///< that pack, at least 1
  RepackFile* repacked = nullptr;  ///< read instead of packing; null: there is none
  bool share_mtp = false;  ///< the MTP module uses the trunk's embedding and head, as in training, not its copies
};

class WeightLoader {
 public:
  WeightLoader(const Checkpoint& checkpoint, Weights& weights, const LoadOptions& options = {});

  const ModelConfig& config() const { return checkpoint_.config(); }
  bool has(const std::string& name) const { return checkpoint_.has(name); }
  /// The matrix [O, K] `name`, packed. Throws Error if it is absent or has another shape.
  const Weight& linear(const std::string& name, size_t O, size_t K, bool always_exact = false);
  /// Matrices [O, K] called prefix + "0" + suffix, prefix + "1" + suffix, ...
  std::span<const Weight> stack(const std::string& prefix, const std::string& suffix, size_t n, size_t O, size_t K);
  /// The vector [n] as f32.
  Tensor vector(const std::string& name, size_t n);
  /// The vector, or an undefined tensor where there is none and the model does not need it.
  Tensor optional_vector(const std::string& name, size_t n, bool required = false);
  /// Per head the absorbed halves of MLA: k_b [kv_lora_rank, qk_nope_head_dim], v_b [v_head_dim, kv_lora_rank], as
  /// stored, or out of the joined kv_b_proj, which is then computed as `exact` (numerics.md 5).
  struct AbsorbedKv {
    std::span<const Weight> k_b, v_b;
  };
  AbsorbedKv absorbed_kv(const std::string& attention_prefix);

 private:
  Weight pack(const std::string& name, size_t O, size_t K);
  Weight repacked(const std::string& name, DType dtype, size_t O, size_t K, Tensor scale_inv = {});
  void done(uint64_t bytes);
  std::span<const Weight> heads_of(const std::string& name, size_t O, size_t K);
  AbsorbedKv split_kv_b(const std::string& name);

  const Checkpoint& checkpoint_;
  Weights& weights_;
  LoadProgress progress_;
  ThreadPool pool_;
  RepackFile* repacked_;
  uint64_t done_ = 0, total_ = 0;
};

}  // namespace fathom
