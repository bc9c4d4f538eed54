#include "tensor/dtype.h"

#include <array>

namespace fathom {
namespace {

constexpr std::array<DTypeInfo, kDTypeCount> kInfo = {{
    {"F32", 1, 4, 0},         {"F16", 1, 2, 1},        {"BF16", 1, 2, 30},     {"F64", 1, 8, 28},
    {"F8_E4M3", 1, 1, -1},    {"I8", 1, 1, 24},        {"U8", 1, 1, -1},       {"I16", 1, 2, 25},
    {"I32", 1, 4, 26},        {"I64", 1, 8, 27},       {"BOOL", 1, 1, -1},     {"Q4_0", 32, 18, 2},
    {"Q4_1", 32, 20, 3},      {"Q5_0", 32, 22, 6},     {"Q5_1", 32, 24, 7},    {"Q8_0", 32, 34, 8},
    {"IQ4_NL", 32, 18, 20},   {"MXFP4", 32, 17, 39},   {"Q2_K", 256, 84, 10},  {"Q3_K", 256, 110, 11},
    {"Q4_K", 256, 144, 12},   {"Q5_K", 256, 176, 13},  {"Q6_K", 256, 210, 14}, {"IQ4_XS", 256, 136, 23},
    {"IQ2_XXS", 256, 66, 16}, {"IQ2_XS", 256, 74, 17}, {"IQ2_S", 256, 82, 22}, {"IQ3_XXS", 256, 98, 18},
    {"IQ3_S", 256, 110, 21},  {"IQ1_S", 256, 50, 19},  {"IQ1_M", 256, 56, 29},
}};

}  // namespace

const DTypeInfo& info(DType type) { return kInfo[static_cast<size_t>(type)]; }

std::optional<DType> dtype_from_gguf(uint32_t id) {
  for (size_t i = 0; i < kInfo.size(); ++i)
    if (kInfo[i].gguf_id >= 0 && static_cast<uint32_t>(kInfo[i].gguf_id) == id) return static_cast<DType>(i);
  return std::nullopt;
}

std::ostream& operator<<(std::ostream& out, DType type) { return out << info(type).name; }

size_t int8_block(DType type) {
  switch (type) {
    case DType::kQ4_0:
    case DType::kQ4_1:
    case DType::kQ5_0:
    case DType::kQ5_1:
    case DType::kQ8_0:
    case DType::kIQ4_NL:
    case DType::kMXFP4: return 32;
    case DType::kQ2_K:
    case DType::kQ3_K:
    case DType::kQ4_K:
    case DType::kQ5_K:
    case DType::kQ6_K:
    case DType::kIQ4_XS: return 256;
    default: return 0;
  }
}

}  // namespace fathom
