// What the headers of a model's files say, also where the model could not be run: parts that are missing or still
// downloading, architectures and tensor types that are not built, a vocabulary or an importance matrix alone. Nothing
// is mapped and no tensor is read, so the size of the files does not matter. Called by `fathom inspect`.
// Plain data and functions: thread-safe.
#pragma once
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/json.h"
#include "formats/gguf.h"
#include "formats/model_config.h"
#include "formats/tensor_info.h"

namespace fathom {

/// One file with tensors.
struct ModelFile {
  enum class State {
    kWhole,
    kUnfinished,  ///< shorter than its header says, or named as downloaders name unfinished files
    kMissing,     ///< not there at all (or there under the name of an unfinished file: see `problem`)
    kBroken,      ///< its header is wrong
  };
  std::filesystem::path path;
  State state = State::kWhole;
  std::string problem;        ///< one line for a person; empty where the file is whole
  uint64_t size_bytes = 0;    ///< on disk
  uint64_t needed_bytes = 0;  ///< as its header says; 0: unknown
  uint64_t header_bytes = 0;
  size_t tensors = 0;
};

struct HeaderTensor {
  TensorInfo info;   ///< dtype and, in GGUF, size_bytes mean nothing where `type_known` is false
  std::string type;  ///< the type's name, also of a type that is not read here
  bool type_known = true;
  size_t file = 0;      ///< index in ModelHeader::files
  uint64_t offset = 0;  ///< of its first byte in that file
  uint64_t values() const { return info.shape.count(); }
};

struct ModelHeader {
  enum class Kind { kGguf, kFolder, kSafetensors };
  std::filesystem::path path;
  Kind kind = Kind::kGguf;
  std::string format;  ///< "GGUF v3", "Hugging Face folder", "safetensors file"
  std::vector<ModelFile> files;
  std::vector<HeaderTensor> tensors;               ///< of all files that are here
  std::optional<GgufMetadata> gguf;                ///< of the first part
  std::map<std::string, std::string> safetensors;  ///< __metadata__ of all files
  json::value config_json;                         ///< a folder's; null where there is none
  std::optional<ModelConfig> config;               ///< nullopt: see config_problem
  std::string config_problem;                      ///< why there is none: an unknown architecture, a missing key
  std::vector<std::string> notes;                  ///< what was assumed
  std::vector<std::string> problems;               ///< what is wrong with the model as a whole, not with one file
  std::optional<uint64_t> indexed_bytes;           ///< total_size of the index
  size_t absent_tensors = 0;                       ///< named by the index, in none of the files

  /// All files are there and whole, and nothing is wrong between them.
  bool complete() const;
  size_t files_here() const;                              ///< those whose header could be read
  const HeaderTensor* find(std::string_view name) const;  ///< null: there is no such tensor; linear
};

/// Reads a GGUF file (with all parts of a split model, when given any of them), a .safetensors file, or a folder.
/// Throws Error naming the path where nothing can be said: neither format, or a single file whose header is wrong or
/// cut off. What is wrong in a folder, a broken config.json too, is among `problems`.
ModelHeader read_model_header(const std::filesystem::path& path);

}  // namespace fathom
