#include "hub/local_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "base/error.h"

namespace fathom {
namespace fs = std::filesystem;

void throw_file_error(const fs::path& path, const char* doing) {
  const int error = errno;
  const std::string message = cat(path.string(), ": ", doing, ": ", std::strerror(error));
  if (error == ENOSPC || error == EDQUOT || error == EFBIG) throw ResourceError(message);
  throw Error(message);
}

void make_folders(const fs::path& root, const fs::path& relative) {
  std::error_code error;
  fs::create_directories(root, error);
  if (error) throw Error(cat(root.string(), ": the folder cannot be made: ", error.message()));
  fs::path path = root;
  for (const fs::path& part : relative) {
    path /= part;
    if (::mkdir(path.c_str(), 0777) == 0) continue;
    if (errno != EEXIST) throw_file_error(path, "the folder cannot be made");
    if (fs::symlink_status(path, error).type() != fs::file_type::directory)
      throw Error(cat(path.string(), ": expected a folder, found a link or a file"));
  }
}

void refuse_links(const fs::path& root, const fs::path& relative) {
  std::error_code error;
  fs::path path = root;
  for (const fs::path& part : relative)
    if (path /= part; fs::is_symlink(path, error))
      throw Error(cat(path.string(), ": expected a file or folder of its own, found a link"));
}

void write_text_file(const fs::path& path, std::string_view text, bool durable) {
  fs::path aside = path;
  aside += ".new";
  ::unlink(aside.c_str());
  try {
    const OutputFile file(aside);
    file.write(0, text);
    if (durable) file.sync();
  } catch (...) {
    ::unlink(aside.c_str());
    throw;
  }
  if (::rename(aside.c_str(), path.c_str()) != 0) throw_file_error(path, "renaming failed");
}

uint64_t free_bytes(const fs::path& folder) {
  struct statvfs stat {};
  if (::statvfs(folder.c_str(), &stat) != 0) throw_file_error(folder, "the free space cannot be read");
  return uint64_t{stat.f_bavail} * stat.f_frsize;
}

OutputFile::OutputFile(const fs::path& path)
    : path_(path), fd_(::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666)) {
  if (fd_ < 0) throw_file_error(path, "cannot be written");
}

OutputFile::OutputFile(OutputFile&& other) noexcept
    : path_(std::move(other.path_)), fd_(std::exchange(other.fd_, -1)) {}

OutputFile::~OutputFile() {
  if (fd_ >= 0) ::close(fd_);
}

void OutputFile::write(uint64_t offset, std::string_view bytes) const {
  while (!bytes.empty()) {
    const ssize_t n = ::pwrite(fd_, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) throw_file_error(path_, "writing failed");
    bytes.remove_prefix(static_cast<size_t>(n));
    offset += static_cast<uint64_t>(n);
  }
}

void OutputFile::resize(uint64_t size) const {
  if (::ftruncate(fd_, static_cast<off_t>(size)) != 0) throw_file_error(path_, "its size cannot be set");
}

void OutputFile::sync() const {
  if (::fsync(fd_) != 0) throw_file_error(path_, "writing failed");
}

FolderLock::FolderLock(FolderLock&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}

FolderLock& FolderLock::operator=(FolderLock&& other) noexcept {
  std::swap(fd_, other.fd_);
  return *this;
}

FolderLock::~FolderLock() {
  if (fd_ >= 0) ::close(fd_);
}

bool FolderLock::try_lock(const fs::path& folder) {
  check(fd_ < 0, "a lock is taken once");
  const int fd = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
  if (fd < 0) {
    if (errno == ENOENT) return false;
    throw_file_error(folder, "cannot be opened");
  }
  struct stat held {
  }, there{};
  // Whoever had the lock may have renamed or removed the folder since it was opened here.
  const bool ours = ::flock(fd, LOCK_EX | LOCK_NB) == 0 && ::fstat(fd, &held) == 0 &&
                    ::lstat(folder.c_str(), &there) == 0 && held.st_ino == there.st_ino && held.st_dev == there.st_dev;
  if (ours)
    fd_ = fd;
  else
    ::close(fd);
  return ours;
}

}  // namespace fathom
