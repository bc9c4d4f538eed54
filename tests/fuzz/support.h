// What fuzz targets share: files that live in memory, and inputs of several parts. One thread.
#pragma once
#include <filesystem>
#include <string_view>
#include <utility>

#include "formats/tensor_info.h"
#include "text/tokenizer_spec.h"

namespace fathom::fuzz {

/// Stands alone on the line between two parts of an input.
inline constexpr std::string_view kPartBreak = "====";

/// The two parts of an input; the second is empty where there is no break.
std::pair<std::string_view, std::string_view> two_parts(std::string_view input);

/// A file in memory with these bytes, the same for every call: readers take paths.
const std::filesystem::path& file_with(std::string_view bytes);

/// An empty folder of this process, for outputs and for readers of folders. Below $TMPDIR, removed at a normal end.
const std::filesystem::path& scratch_folder();

/// Replaces the file's content.
void write_file(const std::filesystem::path& path, std::string_view bytes);

/// The values of a tensor of moderate size, computed and thrown away.
void dequantize_small(const Tensor& tensor);

/// Whether two tensors have the same type, shape and bytes.
bool same(const Tensor& a, const Tensor& b);

/// Builds the tokenizer if its vocabulary is small, encodes fixed texts and decodes them again; ids must be valid, and
/// decoding in pieces must give what decoding at once gives.
void exercise(TokenizerSpec spec);

}  // namespace fathom::fuzz
