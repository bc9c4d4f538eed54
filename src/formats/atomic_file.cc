#include "formats/atomic_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
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

std::filesystem::path folder_of(const std::filesystem::path& path) {
  return path.has_parent_path() ? path.parent_path() : ".";
}

constexpr std::string_view kWriting = ".writing";

/// Removes what killed processes left of `path`: their locks went with them.
void remove_abandoned(const std::filesystem::path& path) {
  const std::string begin = path.filename().string() + ".";
  std::error_code ec;
  for (std::filesystem::directory_iterator at(folder_of(path), ec), end; !ec && at != end; at.increment(ec)) {
    const std::string name = at->path().filename().string();
    if (name.size() <= begin.size() + kWriting.size() || !name.starts_with(begin) || !name.ends_with(kWriting))
      continue;
    const std::string_view pid =
        std::string_view(name).substr(begin.size(), name.size() - begin.size() - kWriting.size());
    if (pid.find_first_not_of("0123456789") != std::string_view::npos) continue;
    const int fd = ::open(at->path().c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0) continue;
    struct stat status {};
    if (::fstat(fd, &status) == 0 && S_ISREG(status.st_mode) && ::flock(fd, LOCK_EX | LOCK_NB) == 0)
      ::unlink(at->path().c_str());
    ::close(fd);
  }
}

/// A new file, locked while it is written. Where locks do not exist it is simply not locked.
int create_locked(const std::filesystem::path& path) {
  for (;;) {
    const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644);
    if (fd < 0) return fd;
    ::flock(fd, LOCK_EX | LOCK_NB);
    struct stat status {};
    if (::fstat(fd, &status) != 0 || status.st_nlink > 0) return fd;
    ::close(fd);  // taken for abandoned before it was locked
  }
}
}  // namespace

void require_room(const std::filesystem::path& path, uint64_t bytes) {
  std::error_code unknown;
  const std::filesystem::space_info space = std::filesystem::space(folder_of(path), unknown);
  if (!unknown && space.available < bytes)
    throw ResourceError(cat(path.string(), ": ", static_cast<double>(bytes) / 1e9, " GB are needed on the disk, ",
                            static_cast<double>(space.available) / 1e9, " GB are free"));
}

AtomicFile::AtomicFile(const std::filesystem::path& path) : path_(regular_target(path)), aside_(path_) {
  remove_abandoned(path_);
  aside_ += cat(".", ::getpid(), kWriting);
  fd_ = create_locked(aside_);
  if (fd_ < 0) failed("cannot be written");
}

AtomicFile::~AtomicFile() {
  if (fd_ < 0) return;
  ::close(fd_);
  ::unlink(aside_.c_str());
}

void AtomicFile::failed(const char* doing) const {
  const std::string message = cat(path_.string(), ": ", doing, ": ", std::strerror(errno));
  if (errno == ENOSPC || errno == EDQUOT || errno == EFBIG) throw ResourceError(message);
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

void AtomicFile::commit(bool sync) {
  if (sync && ::fsync(fd_) != 0) failed("writing failed");
  if (::rename(aside_.c_str(), path_.c_str()) != 0) failed("renaming failed");
  ::close(fd_);
  fd_ = -1;
  if (!sync) return;
  const int folder = ::open(folder_of(path_).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (folder < 0) return;
  ::fsync(folder);  // file systems that cannot do this keep the name by themselves, or not at all
  ::close(folder);
}

}  // namespace fathom
