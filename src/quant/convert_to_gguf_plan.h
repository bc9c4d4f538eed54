// What a conversion to GGUF will write: every tensor of a Hugging Face folder under its GGUF name, with its type and
// shape, and how its rows come from the folder's (spec/gguf.md 3). Called by convert_to_gguf.cc; the rows are made by
// convert_to_gguf_data.h. No state: thread-safe.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "formats/checkpoint.h"

namespace fathom {

/// How the rows of a tensor are made.
enum class Arrange : uint8_t {
  kRows,       ///< the rows of the sources, one source after the other
  kPairs,      ///< of one source; in every head, row i of the first half is followed by row i of the second
  kKeys,       ///< of kv_b_proj: the key part of every head, transposed, [H, kv_lora_rank, qk_nope_head_dim]
  kValues,     ///< of kv_b_proj: the value part of every head, [H, v_head_dim, kv_lora_rank]
  kRopeFreqs,  ///< made from the configuration: divisors of the frequencies
};

struct GgufTensorPlan {
  TensorInfo info;  ///< as it will stand in the file
  Arrange arrange = Arrange::kRows;
  std::vector<std::string> sources;  ///< Hugging Face names; all of one shape
  DType source_type = DType::kF32;   ///< of the first source
  size_t head_rows = 0;              ///< kPairs, kKeys, kValues: rows of one head in the source
  size_t key_rows = 0;               ///< kKeys, kValues: of these the first ones that make keys
};

struct ToGgufTypes {
  std::optional<DType> type;  ///< of matrices: F32, F16, BF16, Q8_0; nullopt: as auto_type() says
  bool fp8_as_q8 = false;     ///< matrices that were FP8 become Q8_0
  bool mtp = true;            ///< keep the MTP layers
};

struct GgufPlan {
  std::vector<GgufTensorPlan> tensors;  ///< in the folder's order, what is generated first
  DType type = DType::kF32;             ///< of matrices
  size_t mtp_layers = 0;
  std::vector<std::string> notes;
};

/// The type of the first matrix that is BF16 or F16; without one BF16 for a folder with FP8 weights, else F32.
DType auto_type(const Checkpoint& checkpoint);

/// Throws Error naming the tensor: one that GGUF has no name for, those that the model computes with and the folder has
/// not, a shape that the configuration contradicts, FP8 scales that are not finite.
GgufPlan plan_gguf(const Checkpoint& checkpoint, const ToGgufTypes& types);

}  // namespace fathom
