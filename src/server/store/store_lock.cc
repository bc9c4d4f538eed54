#include "server/store/store_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <string>
#include <string_view>

#include "base/error.h"
#include "base/trimmed.h"

namespace fathom {

StoreLock::StoreLock(const std::filesystem::path& store) {
  const std::string file = store.string() + ".lock";
  fd_ = ::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd_ < 0) throw Error(cat(file, ": expected a file to lock the store with: ", std::strerror(errno)));
  if (::flock(fd_, LOCK_EX | LOCK_NB) != 0) {
    const int why = errno;
    std::array<char, 32> text{};
    const ssize_t size = ::pread(fd_, text.data(), text.size(), 0);
    ::close(fd_);
    if (why != EWOULDBLOCK) throw Error(cat(file, ": the store cannot be locked: ", std::strerror(why)));
    const std::string_view holder = trimmed({text.data(), static_cast<size_t>(std::max<ssize_t>(size, 0))});
    throw Error(cat(store.string(), ": expected a store that no other server uses, found that of process ",
                    holder.empty() ? "?" : holder));
  }
  const std::string own = cat(::getpid(), "\n");
  // For people and for the message above; the lock holds without it.
  if (::ftruncate(fd_, 0) == 0) (void)!::pwrite(fd_, own.data(), own.size(), 0);
}

StoreLock::~StoreLock() { ::close(fd_); }

}  // namespace fathom
