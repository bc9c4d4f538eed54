// Importance matrices: for each column of a weight the sum of the squares of what it was multiplied with on a text.
// Quantisers weigh their errors by the mean. Read and written in llama.cpp's GGUF form, so that either program takes
// the other's; its older binary form is read. Called by quant/quantize_file.cc, cli/imatrix.cc and cli/quantize.cc.
// No state: thread-safe. Source: llama.cpp's tools/imatrix (mid-2026).
#pragma once
#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace fathom {

/// Of one weight [K] columns wide, or of a stack of them. Matrices that see the same number of rows (the heads of MLA)
/// share one count; the experts of a stack have one each.
struct ImportanceEntry {
  std::vector<float> in_sum2;  ///< [matrices * K]
  std::vector<float> counts;   ///< rows seen: 1, or one per matrix; divides in_sum2's length
};

struct ImportanceMatrix {
  std::map<std::string, ImportanceEntry> entries;  ///< by GGUF's tensor name: "blk.3.attn_q.weight"
  std::vector<std::string> datasets;               ///< the text files
  uint32_t chunk_count = 0, chunk_size = 0;        ///< tokens seen = their product
};

/// Throws Error naming file and tensor: a file of another kind, sums without counts or the reverse, lengths that do not
/// divide, a value that is negative, infinite or not a number.
ImportanceMatrix load_imatrix(const std::filesystem::path& path);

/// Writes the GGUF form, whole or not at all.
void save_imatrix(const std::filesystem::path& path, const ImportanceMatrix& matrix);

/// The mean square per column, [matrices * K]: in_sum2 / count. A matrix that saw nothing (an expert that no token
/// chose) has weight 1 everywhere, as in llama.cpp; `without_data` counts these.
std::vector<float> mean_squares(const ImportanceEntry& entry, size_t& without_data);

}  // namespace fathom
