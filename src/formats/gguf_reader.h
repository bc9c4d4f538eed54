// Reads the header of one GGUF file: a cursor over bytes that are fetched in steps, within fixed bounds.
// Called by formats/gguf.cc, and by formats/model_header_gguf.cc for files that cannot be run.
#pragma once
#include <map>
#include <string>
#include <vector>

#include "formats/gguf.h"

namespace fathom {

/// The header of one file (of a split model, of one part).
struct GgufHeader {
  uint32_t version = 0;
  GgufMetadata metadata;
  std::vector<StoredRange> ranges;
  uint64_t header_bytes = 0;  ///< up to the padding before the data
  uint64_t needed_bytes = 0;  ///< the file's size for which all tensors lie in it
  /// Lenient reading only: index in `ranges` -> a type that is not read here. Such a tensor's dtype means nothing, and
  /// its size_bytes is 0.
  std::map<size_t, uint32_t> foreign_types;
};

class GgufReader {
 public:
  /// `lenient`: tensors of unknown types are listed, and the data may end early or be absent; the header is checked all
  /// the same.
  explicit GgufReader(const InputFile& file, bool lenient = false)
      : file_(file), lenient_(lenient), what_(file.path().string()) {}
  GgufHeader read();

 private:
  void need(uint64_t size);  // makes [at_, at_ + size) available in buffer_
  template <class T>
  T take();
  std::string take_string(uint64_t longest, std::string_view name_of);
  void skip_value(GgufType type, uint64_t count);
  GgufMetadata::Entry take_entry();
  StoredRange take_tensor();
  void read_metadata(uint64_t count);
  void read_tensors(uint64_t count);
  void place_tensors();

  const InputFile& file_;
  bool lenient_;
  std::string what_, buffer_;
  size_t at_ = 0;
  GgufHeader header_;
};

}  // namespace fathom
