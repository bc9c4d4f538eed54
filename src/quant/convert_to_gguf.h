// A Hugging Face folder to one GGUF file, as the ecosystem's converter makes it (spec/gguf.md 2 and 3): names, row
// order of llama's q and k, stacks of experts, MLA's k_b and v_b, FP8 with its scales taken in, MTP layers kept, and
// the tokenizer. Tensors are written one by one from the mapped folder. Called by cli/convert.cc and tests.
// One thread calls; rows are made on a pool.
#pragma once
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "base/work.h"
#include "quant/convert_to_gguf_plan.h"

namespace fathom {

struct ToGgufOptions {
  ToGgufTypes types;
  bool fathom_keys = true;  ///< write fathom.hf.*, without which the way back has to guess
  size_t threads = 1;
  std::filesystem::path adapter;  ///< folder of a LoRA adapter to merge into the weights; empty: none
};

struct ToGgufResult {
  DType type = DType::kF32;  ///< of matrices
  size_t tensors = 0;
  uint64_t bytes = 0;              ///< of the file
  std::vector<std::string> notes;  ///< what was left out, rounded or cannot be said, for the person to see
};

/// Writes `file`, whole or not at all. Throws Error naming what is wrong with the folder, ResourceError if the disk has
/// no room, and what `progress` throws (bytes of tensors done, of all).
ToGgufResult convert_to_gguf(const std::filesystem::path& folder, const std::filesystem::path& file,
                             const ToGgufOptions& options = {}, const WorkProgress& progress = {});

}  // namespace fathom
