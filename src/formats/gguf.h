// GGUF files, versions 2 and 3: metadata and tensors, of one file or of all parts of a split one (spec/gguf.md 1).
// The header is read in bounded steps and checked before anything is mapped; what a file claims never decides how much
// memory is taken, only the bytes that it has. Called by formats/gguf_checkpoint.cc, quant/ and tests.
// An open file may be read by any number of threads.
#pragma once
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/seeded_hash.h"
#include "formats/tensor_info.h"

namespace fathom {

enum class GgufType : uint32_t {
  kU8,
  kI8,
  kU16,
  kI16,
  kU32,
  kI32,
  kF32,
  kBool,
  kString,
  kArray,
  kU64,
  kI64,
  kF64,
};

/// Metadata by key. Values stay as bytes of the header until they are asked for. A number of any integer type is taken
/// where an integer is wanted; every getter throws Error naming file and key if the value is of another kind.
class GgufMetadata {
 public:
  struct Entry {
    std::string key;
    GgufType type = GgufType::kU8, element = GgufType::kU8;  ///< element: of an array
    uint64_t count = 1;                                      ///< elements of an array
    size_t offset = 0, size = 0;                             ///< the value's bytes (an array's elements) in the header
  };

  bool has(std::string_view key) const { return find(key) != nullptr; }
  std::optional<uint64_t> integer(std::string_view key) const;  ///< nullopt: absent; an array of equal values is one
  std::optional<double> number(std::string_view key) const;     ///< f32 as the shortest decimal that rounds to it
  std::optional<bool> boolean(std::string_view key) const;
  std::optional<std::string> string(std::string_view key) const;
  std::vector<std::string> strings(std::string_view key) const;  ///< empty: absent
  std::vector<int64_t> integers(std::string_view key) const;     ///< empty: absent
  uint64_t count(std::string_view key) const;  ///< elements of an array, 1 for a single value; 0: absent
  const std::vector<Entry>& entries() const { return entries_; }
  const std::string& what() const { return what_; }  ///< the file, for messages
  /// The value's bytes as stored; of an array its elements.
  std::string_view value_bytes(const Entry& entry) const {
    return std::string_view(header_).substr(entry.offset, entry.size);
  }

 private:
  friend class GgufReader;
  const Entry* find(std::string_view key) const;
  /// `found`: empty for "a value of type ...".
  [[noreturn]] void wrong(const Entry& entry, std::string_view expected, std::string_view found = {}) const;
  int64_t integer_at(const Entry& entry, GgufType type, size_t offset) const;

  std::string what_, header_;
  std::vector<Entry> entries_;
  NameMap<size_t> index_;
};

/// PREFIX-00002-of-00003.gguf, the name of one part of a split model.
struct GgufSplitName {
  std::string prefix;
  uint64_t number, count;
};
/// nullopt: not such a name.
std::optional<GgufSplitName> gguf_split_name(const std::string& name);
std::filesystem::path gguf_part_path(const std::filesystem::path& folder, const GgufSplitName& name, uint64_t number);

class GgufFile {
 public:
  /// Opens one file, or every part of a split model when given any of them (the name ends in -00001-of-00003.gguf).
  /// Throws Error naming file and tensor or key. A part that is not there, and a file that is shorter than its header
  /// says, are told apart.
  explicit GgufFile(const std::filesystem::path& path);

  const GgufMetadata& metadata() const { return metadata_; }  ///< of the first part
  uint32_t version() const { return version_; }
  size_t parts() const { return parts_.size(); }
  /// All tensors of all parts, in the files' order. Shapes are outermost dimension first: GGUF's ne reversed.
  const std::vector<TensorInfo>& tensors() const { return tensors_; }
  bool has(std::string_view name) const { return index_.contains(name); }
  const Shape* shape(std::string_view name) const;  ///< null: there is no such tensor
  std::optional<Located> locate(std::string_view name) const;
  /// A view of the mapped data. Throws Error naming file and tensor if it is absent.
  Tensor tensor(std::string_view name) const;
  const std::vector<std::shared_ptr<const MappedFile>>& parts_mapped() const { return parts_; }

 private:
  void add_part(const std::filesystem::path& path, size_t number);
  void add_siblings(const std::filesystem::path& first);

  std::filesystem::path path_;
  GgufMetadata metadata_;
  uint32_t version_ = 0;
  std::vector<std::shared_ptr<const MappedFile>> parts_;
  std::vector<TensorInfo> tensors_;
  std::vector<Located> places_;  // as tensors_
  NameMap<size_t> index_;
};

}  // namespace fathom
