// Files from outside: bounded reads of a header, and a read-only mapping of the weights behind it.
// A mapped file that shrinks while it is used ends the process with a message (SIGBUS is caught once, here).
#pragma once
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>

namespace fathom {

/// An open file that is read by offset. Move-only; any number of threads may read.
class InputFile {
 public:
  /// Throws Error naming the path if it is absent, a folder, or unreadable.
  explicit InputFile(const std::filesystem::path& path);
  InputFile(InputFile&& other) noexcept;
  InputFile& operator=(InputFile&&) = delete;
  ~InputFile();
  uint64_t size() const { return size_; }
  const std::filesystem::path& path() const { return path_; }
  /// Exactly `size` bytes from `offset`. Throws Error naming path, offset and the size found.
  void read(uint64_t offset, void* out, size_t size) const;
  int descriptor() const { return fd_; }

 private:
  std::filesystem::path path_;
  int fd_ = -1;
  uint64_t size_ = 0;
};

/// The whole file, mapped read-only; unmapped when the object dies. Shared by the tensors that point into it.
class MappedFile {
 public:
  explicit MappedFile(const InputFile& file);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  std::span<const std::byte> bytes() const { return {data_, size_}; }
  /// Tells the system that the whole pages inside `part` are not needed any more (they can be read again).
  void release(std::span<const std::byte> part) const;

 private:
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
  std::string name_;
};

}  // namespace fathom
