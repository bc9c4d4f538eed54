// A Hugging Face folder with its weights in another type, FP8 in blocks included, both ways (spec/models.md 8).
// Called by cli/convert.cc. One thread; a pool works below.
#pragma once
#include <filesystem>

#include "quant/convert_safetensors_folder.h"

namespace fathom {

/// Writes the folder `out` (which does not exist yet, or is empty) from the folder `in`. type: F32, F16 or BF16 for all
/// floating tensors, but e_score_correction_bias, which DeepSeek keeps in F32; or F8_E4M3: the matrices of
/// is_fp8_matrix() become e4m3 with a weight_scale_inv, the others stay. config.json's torch_dtype and
/// quantization_config follow; tokenizer, licence and other files are copied. The report has a note on each lossy step
/// and on what was left out. Throws Error naming file or tensor, ResourceError where the disk is too small, Interrupted
/// where `progress` does; then nothing is left behind.
FolderReport convert_folder_type(const std::filesystem::path& in, const std::filesystem::path& out, DType type,
                                 const FolderOptions& options = {}, const WorkProgress& progress = {});

}  // namespace fathom
