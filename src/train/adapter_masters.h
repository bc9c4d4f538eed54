// The f32 masters of a LoRA adapter: what is trained beside a frozen model, whose weights may have any type. The
// counterpart of Masters (train/masters.h): parameters for an optimizer, snapshots for a forward, gradients gathered.
// One thread.
#pragma once
#include <filesystem>
#include <string>
#include <vector>

#include "autograd/tape.h"
#include "models/adapter.h"
#include "train/parameter.h"

namespace fathom {

struct LoraOptions {
  size_t r = 8;
  double alpha = 16;
  bool rslora = false;  ///< scale alpha / sqrt(r) instead of alpha / r
  /// Ends of module names, as peft's target_modules: "q_proj", "self_attn.o_proj"; or "all-linear": every linear of the
  /// layers that takes an adapter (require_adaptable), but no router.
  std::vector<std::string> targets = {"all-linear"};
  uint64_t seed = 0;
};

class AdapterMasters {
 public:
  /// A from U(-1/sqrt(K), 1/sqrt(K)), as peft starts it (Kaiming uniform with a = sqrt(5)), by seed and name alone; B
  /// is 0, so that the model begins as it was. Throws Error for a rank of 0, a target that no weight has, or one that
  /// takes no adapter.
  static AdapterMasters draw(const Model& model, const LoraOptions& options);
  /// Goes on from an adapter. Throws Error where it does not fit the model (make_adapter).
  static AdapterMasters from(PeftAdapter adapter, const Model& model);

  /// The same adapter with other values, by "PREFIX.NAME" of the parameters, whose memory it shares.
  AdapterMasters with_values(const NamedTensors& values) const;

  /// In the order of their names: "MODULE.lora_A.weight" [r, K], "MODULE.lora_B.weight" [O, r], in Hugging Face's row
  /// order. All take decay and are hidden matrices by the rules of train/parameter.h.
  std::vector<Parameter>& parameters() { return parameters_; }
  const std::vector<Parameter>& parameters() const { return parameters_; }
  uint64_t count() const;  ///< numbers in all parameters

  /// Packed from the masters as they are now, for the model that they were made for.
  Adapter snapshot() const { return make_adapter(adapter_, *model_); }
  /// Gradients of all parameters, in their order and shapes; `adapter` is the snapshot that the gradients belong to. A
  /// parameter that nothing used has zeros.
  std::vector<Tensor> gather(const Adapter& adapter, Gradients& gradients) const;
  /// Writes the folder in peft's format; `base` is its base_model_name_or_path.
  void save(const std::filesystem::path& folder, const std::string& base) const;
  /// The masters' live values.
  const PeftAdapter& adapter() const { return adapter_; }

 private:
  AdapterMasters(PeftAdapter adapter, const Model& model);

  const Model* model_;  // never null; outlives this
  PeftAdapter adapter_;
  std::vector<Parameter> parameters_;  // handles on adapter_'s tensors
};

}  // namespace fathom
