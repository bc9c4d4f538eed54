// Small steps on the file system that hub/ needs: no link is followed where a server's names lead, texts appear whole
// or not at all, and a full disk is a ResourceError. Called by the rest of hub/. Thread-safe: no state.
#pragma once
#include <filesystem>
#include <string>
#include <string_view>

namespace fathom {

/// Throws ResourceError where errno says that the disk, the quota or the process's limit of a file's size is reached,
/// else Error; both name the path.
[[noreturn]] void throw_file_error(const std::filesystem::path& path, const char* doing);

/// Makes the folders from `root` (which exists or is made with its parents) down to root/relative. Throws Error where
/// one of those below root is a link or no folder.
void make_folders(const std::filesystem::path& root, const std::filesystem::path& relative);

/// Throws Error where a folder between `root` and root/relative, or the last itself, is a link.
void refuse_links(const std::filesystem::path& root, const std::filesystem::path& relative);

/// Written beside its place and renamed; `durable`: synced before, so that a crash of the machine leaves the old or the
/// new text and not an empty file.
void write_text_file(const std::filesystem::path& path, std::string_view text, bool durable);

/// Bytes that this user may still write on the disk of `folder`.
uint64_t free_bytes(const std::filesystem::path& folder);

/// An open file for writing at any place. Move-only.
class OutputFile {
 public:
  /// Opens or makes it; a link in its place is refused.
  explicit OutputFile(const std::filesystem::path& path);
  OutputFile(OutputFile&& other) noexcept;
  OutputFile& operator=(OutputFile&&) = delete;
  ~OutputFile();
  void write(uint64_t offset, std::string_view bytes) const;
  void resize(uint64_t size) const;
  void sync() const;

 private:
  std::filesystem::path path_;
  int fd_ = -1;
};

/// An exclusive lock on a folder, held until the object dies or the process ends. Move-only.
class FolderLock {
 public:
  FolderLock() = default;
  FolderLock(FolderLock&& other) noexcept;
  FolderLock& operator=(FolderLock&& other) noexcept;
  ~FolderLock();
  /// False: another has it, or the folder is not the one at this path any more.
  bool try_lock(const std::filesystem::path& folder);

 private:
  int fd_ = -1;
};

}  // namespace fathom
