// Writes GGUF version 3 files (spec/gguf.md 1): metadata and tensor infos first, then the data of one tensor after the
// other, in pieces, so that a file larger than memory can be made. The file appears whole or not at all.
// Called by conversion, quantisers and importance matrices. One thread.
#pragma once
#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "formats/atomic_file.h"
#include "formats/gguf.h"

namespace fathom {

/// Metadata in the order in which it will stand in the file. Setting a key again replaces its value in place.
class GgufKeys {
 public:
  void set_u8(std::string_view key, uint8_t value);
  void set_u16(std::string_view key, uint16_t value);
  void set_u32(std::string_view key, uint32_t value);
  void set_i32(std::string_view key, int32_t value);
  void set_u64(std::string_view key, uint64_t value);
  void set_f32(std::string_view key, float value);
  void set_bool(std::string_view key, bool value);
  void set_string(std::string_view key, std::string_view value);
  void set_strings(std::string_view key, std::span<const std::string> values);
  void set_i32s(std::string_view key, std::span<const int32_t> values);
  void set_u32s(std::string_view key, std::span<const uint32_t> values);
  void set_f32s(std::string_view key, std::span<const float> values);
  /// All entries of an open file, as they are, but general.alignment: the writer aligns to GGUF's default.
  void copy(const GgufMetadata& metadata);
  void remove(std::string_view key);
  bool has(std::string_view key) const;
  size_t count() const { return entries_.size(); }
  const std::string& key_at(size_t index) const { return entries_[index].first; }
  std::string_view bytes_at(size_t index) const { return entries_[index].second; }  ///< key, type and value as stored

 private:
  void set(std::string_view key, std::string_view value);  // value: type id and bytes
  template <class T>
  void set_array(std::string_view key, GgufType element, std::span<const T> values);
  std::vector<std::pair<std::string, std::string>> entries_;  // key; key, type and value as stored
  std::map<std::string, size_t, std::less<>> places_;         // key: its index in entries_
};

class GgufWriter {
 public:
  /// Writes everything up to the data. `tensors`: names, types and shapes (outermost dimension first) in the order of
  /// their data; size_bytes is computed here. Throws Error naming the tensor: a type that GGUF does not have, a last
  /// dimension that is no whole number of blocks, a name of more than 63 bytes or given twice; or an alignment in
  /// `keys` other than 32.
  GgufWriter(const std::filesystem::path& path, const GgufKeys& keys, std::vector<TensorInfo> tensors);

  /// The next bytes of the data: tensors in order, each may come in pieces of any size that do not cross its end.
  void write(std::span<const std::byte> data);
  /// Throws nothing but what the disk does: that every tensor was written in full is an invariant of the caller.
  void commit();
  uint64_t total_bytes() const { return total_; }  ///< of the finished file

 private:
  void pad();

  AtomicFile file_;
  std::vector<TensorInfo> tensors_;
  size_t tensor_ = 0;     // the one being written
  uint64_t written_ = 0;  // of it
  uint64_t at_ = 0, total_ = 0;
};

}  // namespace fathom
