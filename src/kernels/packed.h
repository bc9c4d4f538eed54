// The packed form of quantised weights with an int8 form: 16 rows of a panel side by side, so that lanes run over rows
// and a product with one row of activations reads one linear stream. No bit of the file is lost. Pure functions, any
// thread.
//
// A group is one block (32 or 256 values of k) of 16 rows, as planes one after the other:
//   d        f16 [16] (MXFP4: u8 [16]);  m  f16 [16], where the type has one
//   scales   one byte [sub-block][16], signed where the type's are (Q2_K: scale and minimum in one byte)
//   minima   one byte [sub-block][16] (Q4_K, Q5_K)
//   codes    for each 32 values of k as 8 steps of 4: `bits` vectors of 64 bytes [16 rows][4 values]; step s is in
//            vector s % bits, shifted by bits * (s / bits)
//   high     the codes' further bits in the same way, behind the codes of the same 32 values: who reads a group reads
//            forward, which is what processors fetch ahead
// Sizes equal the file's but for scales of 6 bits: Q4_K and Q5_K 64, Q3_K 64 and IQ4_XS 32 bytes more a group.
#pragma once
#include <cstddef>
#include <cstdint>

#include "tensor/dtype.h"

namespace fathom {

/// Whether panels of this type hold packed groups; else they hold the file's blocks (kernels.h).
bool is_packed(DType type);

/// Bytes of one block of all 16 rows of a panel.
size_t group_bytes(DType type);

/// Offsets of a packed group's planes; absent ones are 0. Codes and high bits of the next 32 values are `stride32` on.
struct PackedLayout {
  size_t d, m, scales, minima, codes, high, stride32, bytes;
};
PackedLayout packed_layout(DType type);

/// Blocks [0, blocks) of rows [0, n) (n <= 16, row_bytes apart) to groups; missing rows are packed as zero bytes.
void pack_rows(std::byte* out, DType type, const std::byte* rows, size_t row_bytes, size_t n, size_t blocks);

/// Row r's block of a group, as the file has it.
void unpack_block(std::byte* block, DType type, const std::byte* group, size_t r);

}  // namespace fathom
