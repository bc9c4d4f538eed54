#include "formats/atomic_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/error.h"

namespace fathom {

namespace {
/// Where a link points to. Devices, pipes and folders are refused: renaming over them would replace them.
std::filesystem::path regular_target(const std::filesystem::path& path) {
  std::error_code ec;
  const std::filesystem::path target =
      std::filesystem::is_symlink(path, ec) ? std::filesystem::weakly_canonical(path, ec) : path;
  if (std::filesystem::exists(target, ec) && !std::filesystem::is_regular_file(target, ec))
    throw Error(cat(path.string(), ": expected a regular file to write, found a folder, device or pipe"));
  return target;
}
}  // namespace

AtomicFile::AtomicFile(const std::filesystem::path& path) : path_(regular_target(path)), aside_(path_) {
  aside_ += cat(".", ::getpid(), ".writing");
  fd_ = ::open(aside_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (fd_ < 0) failed("cannot be written");
}

AtomicFile::~AtomicFile() {
  if (fd_ < 0) return;
  ::close(fd_);
  ::unlink(aside_.c_str());
}

void AtomicFile::failed(const char* doing) const {
  const std::string message = cat(path_.string(), ": ", doing, ": ", std::strerror(errno));
  if (errno == ENOSPC || errno == EDQUOT) throw ResourceError(message);
  throw Error(message);
}

void AtomicFile::write(const void* data, size_t size) {
  for (size_t done = 0; done < size;) {
    const ssize_t n = ::write(fd_, static_cast<const char*>(data) + done, size - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) failed("writing failed");
    done += static_cast<size_t>(n);
  }
}

void AtomicFile::commit() {
  if (::fsync(fd_) != 0) failed("writing failed");
  if (::rename(aside_.c_str(), path_.c_str()) != 0) failed("renaming failed");
  ::close(fd_);
  fd_ = -1;
}

}  // namespace fathom
