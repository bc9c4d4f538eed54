#include "cli/access_log.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/error.h"

namespace fathom {
namespace {

int open_log(const std::filesystem::path& path) {
  const int fd = ::open(path.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0640);
  if (fd < 0) throw Error(cat(path.string(), ": expected a file to append to, found: ", std::strerror(errno)));
  return fd;
}

}  // namespace

AccessLog::AccessLog(const std::filesystem::path& file)
    : fd_(file.empty() ? STDERR_FILENO : open_log(file)), own_(!file.empty()), thread_([this] { work(); }) {}

AccessLog::~AccessLog() {
  {
    const std::lock_guard lock(mutex_);
    ends_ = true;
  }
  wake_.notify_one();
  thread_.join();
  if (own_) ::close(fd_);
}

void AccessLog::write(std::string line) {
  {
    const std::lock_guard lock(mutex_);
    if (lines_.size() >= kMostLines) {
      ++dropped_;
      return;
    }
    lines_.push_back(std::move(line));
  }
  wake_.notify_one();
}

bool AccessLog::put(std::string_view text) {
  while (!text.empty()) {
    // A pipe that is ready takes a page without blocking; one whose reader sleeps must not keep the end away.
    pollfd ready{fd_, POLLOUT, 0};
    const bool last_chance = ends_;
    if (::poll(&ready, 1, 100) == 0) {
      if (last_chance) return false;
      continue;
    }
    const ssize_t n = ::write(fd_, text.data(), std::min<size_t>(text.size(), 4096));
    if (n < 0 && errno != EINTR && errno != EAGAIN) return false;
    if (n > 0) text.remove_prefix(static_cast<size_t>(n));
  }
  return true;
}

void AccessLog::work() {
  while (true) {
    std::deque<std::string> lines;
    size_t dropped = 0;
    {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [this] { return ends_ || !lines_.empty(); });
      lines.swap(lines_);
      std::swap(dropped, dropped_);
    }
    if (lines.empty()) return;
    for (const std::string& line : lines) {
      if (put(line + "\n")) continue;
      if (ends_) return;
      ++dropped;
    }
    if (dropped != 0) put(cat(R"({"dropped_lines":)", dropped, "}\n"));
  }
}

}  // namespace fathom
