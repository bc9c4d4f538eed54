// Which type each tensor of a model gets when a file is quantised: the ecosystem's mixtures (Q4_K_M and the like), so
// that a file made here is laid out as one made by llama.cpp. Called by quant/quantize_file.cc. No state: thread-safe.
// Source: spec/gguf.md 3.3 and 5; llama.cpp's src/llama-quant.cpp (mid-2026).
#pragma once
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "formats/gguf.h"

namespace fathom {

/// The number that stands in general.file_type.
enum class FileType : uint32_t {
  // clang-format off
  kF32 = 0, kF16 = 1, kQ4_0 = 2, kQ4_1 = 3, kQ8_0 = 7, kQ5_0 = 8, kQ5_1 = 9, kQ2_K = 10, kQ3_K_S = 11, kQ3_K_M = 12,
  kQ3_K_L = 13, kQ4_K_S = 14, kQ4_K_M = 15, kQ5_K_S = 16, kQ5_K_M = 17, kQ6_K = 18, kQ2_K_S = 21, kIQ4_NL = 25,
  kIQ4_XS = 30, kBF16 = 32,
  // clang-format on
};

struct Mixture {
  const char* name;  ///< "Q4_K_M"
  FileType file_type;
  DType base;  ///< the type of every tensor that no rule raises
};

std::span<const Mixture> mixtures();
/// By name, in any case; Q3_K, Q4_K and Q5_K mean their M. Throws UsageError that lists the names.
const Mixture& find_mixture(std::string_view name);
/// A type that can be written, by GGUF's name in any case. Throws UsageError naming `what` and listing the types.
DType find_written_type(std::string_view what, std::string_view name);

/// What the rules look at.
struct MixtureModel {
  std::string architecture;
  uint64_t layers = 0;   ///< block_count: MTP blocks included
  uint64_t gqa = 1;      ///< query heads per key/value head in the first layer; 0: unknown
  uint64_t experts = 0;  ///< routed ones; 0: dense
  bool is_70b = false;   ///< the 80-layer llama and qwen2 models with shared key/value heads
};
/// Throws Error naming file and key.
MixtureModel mixture_model(const GgufMetadata& metadata);

struct MixtureOptions {
  const Mixture* mixture = nullptr;                    ///< required
  bool pure = false;                                   ///< the base type everywhere
  bool has_importance = false;                         ///< changes a few rules
  std::optional<DType> output, token_embedding;        ///< of output.weight and token_embd.weight
  std::vector<std::pair<std::string, DType>> by_name;  ///< pattern searched in the name -> type; the first wins
};

struct TensorChoice {
  DType type;                   ///< what the tensor will be
  std::optional<DType> wanted;  ///< set where the rules wanted this and the row length does not allow it
  bool may_change = true;       ///< false: stays as it is (norms, routers, vectors)
};

/// One choice per tensor, in order. Tensors must be in the order in which they will be written (write_order): some
/// rules count. Throws UsageError for a pattern that is no regular expression or matches no tensor that may change,
/// Error for a layer number that the model does not have.
std::vector<TensorChoice> choose_types(std::span<const TensorInfo> tensors, const MixtureModel& model,
                                       const MixtureOptions& options);

/// Whether a tensor is ever quantised: matrices and stacks named *.weight that are no norm, no router and no small
/// special one.
bool may_be_quantized(const TensorInfo& tensor);

/// Sorts as llama.cpp's quantiser writes: without a layer number first, then layer by layer, by name.
void sort_for_writing(std::vector<TensorInfo>& tensors);

/// The number in "blk.7.attn_q.weight"; nullopt: none.
std::optional<uint64_t> layer_number(std::string_view name);

}  // namespace fathom
