// LoRA adapters in the format of the peft library: a folder with adapter_config.json and adapter_model.safetensors.
// Values are in Hugging Face's row order, as f32. Called by models/adapter.cc, quant/ (merging) and trainers.
// No state: thread-safe. Source: huggingface.co/docs/peft, "PEFT checkpoint format".
#pragma once
#include <filesystem>
#include <string>
#include <vector>

#include "formats/model_config.h"
#include "tensor/tensor.h"

namespace fathom {

/// One adapted matrix W [O, K]: W + scale B A.
struct PeftMatrix {
  std::string weight;  ///< the base's tensor: "model.layers.0.self_attn.q_proj.weight"
  Tensor a;            ///< lora_A [r, K] f32
  Tensor b;            ///< lora_B [O, r] f32
};

struct PeftAdapter {
  size_t r = 0;
  double lora_alpha = 0;
  bool use_rslora = false;
  std::vector<std::string> target_modules;  ///< "q_proj"; written, and not looked at where an adapter is read
  std::string base_model_name_or_path;      ///< empty: not said
  std::vector<PeftMatrix> matrices;         ///< in the order of their names, each name once

  /// alpha / r, or alpha / sqrt(r) with use_rslora (arXiv:2312.03732), rounded once to f32.
  float scale() const;
};

/// Reads a folder. Throws Error naming file and thing where something is absent or wrong, and for what is not
/// supported: another peft_type or task than CAUSAL_LM, DoRA, biases, modules_to_save, ranks by pattern, an
/// initialisation that changes the base, any option unknown here that is set, a tensor that is no lora_A or lora_B of a
/// matrix, a matrix without one of both, shapes that do not give rank r.
PeftAdapter read_peft_adapter(const std::filesystem::path& folder);

/// Writes both files into the folder, which is made where it is absent; adapter_config.json last, each whole or not at
/// all. Throws what AtomicFile throws.
void write_peft_adapter(const std::filesystem::path& folder, const PeftAdapter& adapter);

/// Row of Hugging Face's matrix `weight` that row `row` of the checkpoint's is: another one only in GGUF's llama, whose
/// rotated rows stand in pairs.
size_t hugging_face_row(const ModelConfig& config, std::string_view weight, size_t row);

/// BLAKE2b-256, in hex, of what the adapter computes: a line with the scale's bits, then of each matrix in order
/// "name\nr,K\nO,r\n" and the values of A and B. The "adapter" of a numerics id (spec/numerics.md 9).
std::string adapter_id(const PeftAdapter& adapter);

}  // namespace fathom
