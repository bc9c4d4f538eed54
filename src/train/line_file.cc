#include "train/line_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/error.h"

namespace fathom {
namespace {

[[noreturn]] void failed(const std::filesystem::path& path, const char* doing) {
  const std::string message = cat(path.string(), ": ", doing, ": ", std::strerror(errno));
  if (errno == ENOSPC || errno == EDQUOT || errno == EFBIG) throw ResourceError(message);
  throw Error(message);
}

}  // namespace

LineFile::LineFile(std::filesystem::path path, uint64_t kept)
    : path_(std::move(path)), fd_(::open(path_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644)), size_(kept) {
  if (fd_ < 0) failed(path_, "cannot be written");
  struct stat is {};
  std::string wrong;
  if (::fstat(fd_, &is) != 0 || static_cast<uint64_t>(is.st_size) < kept)
    wrong = cat(path_.string(), ": expected at least ", kept, " bytes, which the run has written, found ", is.st_size);
  else if (::ftruncate(fd_, static_cast<off_t>(kept)) != 0)
    wrong = cat(path_.string(), ": cannot be cut: ", std::strerror(errno));
  if (wrong.empty()) return;
  ::close(fd_);
  throw Error(wrong);
}

LineFile::~LineFile() { ::close(fd_); }

void LineFile::append(std::string_view text) {
  for (size_t done = 0; done < text.size();) {
    const ssize_t n = ::write(fd_, text.data() + done, text.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) failed(path_, "writing failed");
    done += static_cast<size_t>(n);
  }
  size_ += text.size();
}

void LineFile::sync() {
  if (::fsync(fd_) != 0) failed(path_, "writing failed");
}

}  // namespace fathom
