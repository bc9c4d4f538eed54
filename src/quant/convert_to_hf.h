// A GGUF file as a Hugging Face folder: config, tokenizer and weights by the names and layouts that transformers reads
// (spec/gguf.md 3). The other direction is convert_to_gguf.h. Called by cli/convert.cc. One thread; a pool works below.
#pragma once
#include <filesystem>
#include <optional>

#include "formats/gguf.h"
#include "quant/convert_safetensors_folder.h"

namespace fathom {

struct ToHfOptions {
  std::optional<DType> type;  ///< F32, F16 or BF16 for every tensor; nullopt: see plan_hf
  FolderOptions folder;
};

struct HfPlan {
  std::vector<WeightToWrite> weights;
  DType type = DType::kBF16;  ///< that most of the matrices have: config.json's torch_dtype
  std::vector<std::string> notes;
};

/// What the folder will hold: rows of llama's q and k in halves again, k_b and v_b joined to kv_b_proj, stacks of
/// experts taken apart, nextn.* as layers of their own; no lm_head where the embeddings are tied. Types, where none is
/// asked for: those that fathom.hf.dtypes names; else as stored, and BF16 for files with quantised tensors; vectors and
/// routers, which GGUF keeps in F32, in the matrices' type where that loses nothing. e_score_correction_bias is F32
/// always. Throws Error naming a tensor: no Hugging Face name, a shape that its reordering cannot take.
HfPlan plan_hf(const GgufFile& file, const Checkpoint& checkpoint, std::optional<DType> type);

/// Writes the folder `out`, which does not exist yet or is empty, from a GGUF file (its other parts too). The report
/// says what was lost, what was assumed and what is unknown. Throws Error naming file, key or tensor, ResourceError
/// where the disk is too small, Interrupted where `progress` does; then nothing is left behind.
FolderReport convert_to_hf(const std::filesystem::path& gguf, const std::filesystem::path& out,
                           const ToHfOptions& options = {}, const WorkProgress& progress = {});

}  // namespace fathom
