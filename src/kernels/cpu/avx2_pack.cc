// Packing of weights with AVX2 (simd_pack.h).
#include "kernels/cpu/avx2.h"
#include "kernels/cpu/simd_avx2.h"
#include "kernels/cpu/simd_pack.h"

namespace fathom::avx2 {
namespace {

template <DType type>
void pack(std::byte* out, const std::byte* rows, size_t row_bytes, size_t blocks) {
  for (size_t b = 0; b < blocks; ++b)
    simd::Pack<Simd>::group<type>(reinterpret_cast<uint8_t*>(out) + b * simd::planes<type>().bytes,
                                  reinterpret_cast<const uint8_t*>(rows) + b * simd::block_bytes<type>(), row_bytes);
}

}  // namespace

void pack_rows(std::byte* out, DType type, const std::byte* rows, size_t row_bytes, size_t n, size_t blocks) {
  if (n != kPanelRows) return fathom::pack_rows(out, type, rows, row_bytes, n, blocks);
  switch (type) {
    case DType::kQ4_0: return pack<DType::kQ4_0>(out, rows, row_bytes, blocks);
    case DType::kQ4_1: return pack<DType::kQ4_1>(out, rows, row_bytes, blocks);
    case DType::kQ5_0: return pack<DType::kQ5_0>(out, rows, row_bytes, blocks);
    case DType::kQ5_1: return pack<DType::kQ5_1>(out, rows, row_bytes, blocks);
    case DType::kQ8_0: return pack<DType::kQ8_0>(out, rows, row_bytes, blocks);
    case DType::kIQ4_NL: return pack<DType::kIQ4_NL>(out, rows, row_bytes, blocks);
    case DType::kMXFP4: return pack<DType::kMXFP4>(out, rows, row_bytes, blocks);
    case DType::kQ2_K: return pack<DType::kQ2_K>(out, rows, row_bytes, blocks);
    case DType::kQ3_K: return pack<DType::kQ3_K>(out, rows, row_bytes, blocks);
    case DType::kQ4_K: return pack<DType::kQ4_K>(out, rows, row_bytes, blocks);
    case DType::kQ5_K: return pack<DType::kQ5_K>(out, rows, row_bytes, blocks);
    case DType::kQ6_K: return pack<DType::kQ6_K>(out, rows, row_bytes, blocks);
    case DType::kIQ4_XS: return pack<DType::kIQ4_XS>(out, rows, row_bytes, blocks);
    default: return fathom::pack_rows(out, type, rows, row_bytes, n, blocks);
  }
}

}  // namespace fathom::avx2
