// A file of lines that grows while a run goes on, and is cut back to a known place when the run is gone on with.
// Called by the writers of a run folder's JSONL files. One writer at a time (the run folder's lock).
#pragma once
#include <cstdint>
#include <filesystem>
#include <string_view>

namespace fathom {

class LineFile {
 public:
  /// Opens the file, an empty one where it is absent, and cuts off what stands behind its first `kept` bytes. Throws
  /// Error naming the file where it has fewer, or is not writable.
  LineFile(std::filesystem::path path, uint64_t kept);
  ~LineFile();
  LineFile(const LineFile&) = delete;
  LineFile& operator=(const LineFile&) = delete;
  /// Appends the text, whole unless the process or disk dies meanwhile. Throws ResourceError where the disk is full.
  void append(std::string_view text);
  /// Returns when all is on the disk.
  void sync();
  uint64_t size() const { return size_; }  ///< in bytes

 private:
  std::filesystem::path path_;
  int fd_;
  uint64_t size_;
};

}  // namespace fathom
