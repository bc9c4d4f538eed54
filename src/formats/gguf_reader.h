// Reads the header of one GGUF file: a cursor over bytes that are fetched in steps, within fixed bounds.
// Called by formats/gguf.cc only.
#pragma once
#include <string>
#include <vector>

#include "formats/gguf.h"

namespace fathom {

/// The header of one file (of a split model, of one part).
struct GgufHeader {
  uint32_t version = 0;
  GgufMetadata metadata;
  std::vector<StoredRange> ranges;
};

class GgufReader {
 public:
  explicit GgufReader(const InputFile& file) : file_(file), what_(file.path().string()) {}
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
  std::string what_, buffer_;
  size_t at_ = 0;
  GgufHeader header_;
};

}  // namespace fathom
