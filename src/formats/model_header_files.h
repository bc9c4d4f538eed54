// Parts of read_model_header, by format. Called by formats/model_header.cc only.
#pragma once
#include "formats/model_header.h"

namespace fathom {

/// All parts of the GGUF model that `path` belongs to. Throws Error where `path` itself cannot be read.
void read_gguf_header(const std::filesystem::path& path, ModelHeader& out);
/// One safetensors file: its tensors and metadata. Throws Error if its header is wrong or cut off.
void add_safetensors_header(const std::filesystem::path& path, ModelHeader& out);
/// config.json and the weights of a folder.
void read_folder_header(const std::filesystem::path& folder, ModelHeader& out);

/// Runs `read` for a file that others stand beside: an Error becomes its problem.
template <class Read>
void add_file_or_problem(ModelHeader& out, const std::filesystem::path& path, ModelFile::State state, Read read) {
  const size_t before = out.files.size(), tensors = out.tensors.size();
  try {
    read();
  } catch (const Error& e) {
    out.files.resize(before);
    out.tensors.resize(tensors);
    out.files.push_back({.path = path, .state = state, .problem = e.what()});
  }
}
/// Says so in the file's state if it is shorter than needed_bytes or has the name of an unfinished one.
void judge_length(ModelFile& file);

}  // namespace fathom
