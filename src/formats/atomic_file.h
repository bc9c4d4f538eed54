// A file that appears complete or not at all: written beside its place as NAME.PID.writing, synced and renamed by
// commit(). What a killed process left of the same file is removed when it is written again.
// Called by writers of model files. One thread.
#pragma once
#include <cstddef>
#include <cstdint>
#include <filesystem>

namespace fathom {

/// Throws ResourceError with the numbers where the disk of `path` is known to have less than `bytes` free.
void require_room(const std::filesystem::path& path, uint64_t bytes);

class AtomicFile {
 public:
  /// Throws Error naming the path if the folder is absent or not writable.
  explicit AtomicFile(const std::filesystem::path& path);
  /// Without commit() the half-written file is removed.
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;
  /// Throws ResourceError if the disk is full or a limit of the file's size reached, Error on another failure.
  void write(const void* data, size_t size);
  /// `sync` false: for what can be made again and carries its checksum; a crash of the system may leave it damaged.
  void commit(bool sync = true);

 private:
  [[noreturn]] void failed(const char* doing) const;
  std::filesystem::path path_, aside_;
  int fd_ = -1;
};

}  // namespace fathom
