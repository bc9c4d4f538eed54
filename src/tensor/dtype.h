// Storage types of tensors: those of checkpoints (safetensors) and of GGUF files (spec/gguf.md 1.2).
#pragma once
#include <cstddef>
#include <cstdint>
#include <optional>
#include <ostream>
#include <string_view>

namespace fathom {

enum class DType : uint8_t {
  // clang-format off
  kF32, kF16, kBF16, kF64, kF8E4M3, kI8, kU8, kI16, kI32, kI64, kBool,
  // 32 values a block
  kQ4_0, kQ4_1, kQ5_0, kQ5_1, kQ8_0, kIQ4_NL, kMXFP4,
  // 256 values a block
  kQ2_K, kQ3_K, kQ4_K, kQ5_K, kQ6_K, kIQ4_XS, kIQ2_XXS, kIQ2_XS, kIQ2_S, kIQ3_XXS, kIQ3_S, kIQ1_S, kIQ1_M,
  // clang-format on
};
inline constexpr size_t kDTypeCount = static_cast<size_t>(DType::kIQ1_M) + 1;

struct DTypeInfo {
  const char* name;     ///< as GGUF prints it: "Q4_K", "BF16"
  uint32_t block_size;  ///< values a block
  uint32_t block_bytes;
  int gguf_id;  ///< -1: not a GGUF tensor type that we read
};
const DTypeInfo& info(DType type);
std::optional<DType> dtype_from_gguf(uint32_t id);
std::ostream& operator<<(std::ostream& out, DType type);

/// Values a block of quantised activations has for this weight type in profile int8: 32, 256, or 0 for types without
/// an int8 form (spec/numerics.md 3).
size_t int8_block(DType type);

}  // namespace fathom
