#include "base/mapped_file.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <mutex>

#include "base/error.h"

namespace fathom {
namespace {

// What the SIGBUS handler may look at: fixed slots, written under a mutex, read without one.
struct Mapping {
  std::atomic<const std::byte*> begin{nullptr};
  std::atomic<size_t> size{0};
  std::array<char, 512> name{};
};
std::array<Mapping, 512> mappings;
std::mutex mappings_mutex;

void say(const char* text) {
  // Nothing can be done about a write that fails while the process ends.
  [[maybe_unused]] const ssize_t n = ::write(STDERR_FILENO, text, std::strlen(text));
}

void on_sigbus(int, siginfo_t* info, void*) {
  const auto* address = static_cast<const std::byte*>(info->si_addr);
  for (const Mapping& m : mappings) {
    const std::byte* begin = m.begin.load();
    if (!begin || address < begin || address >= begin + m.size.load()) continue;
    say("fathom: ");
    say(m.name.data());
    say(": the file became shorter, or its disk failed, while it was in use\n");
    _exit(1);
  }
  signal(SIGBUS, SIG_DFL);
  raise(SIGBUS);
}

void watch(const std::byte* data, size_t size, const std::string& name) {
  const std::lock_guard lock(mappings_mutex);
  static const bool installed = [] {
    struct sigaction action {};
    action.sa_sigaction = on_sigbus;
    action.sa_flags = SA_SIGINFO;
    return sigaction(SIGBUS, &action, nullptr) == 0;
  }();
  check(installed, "cannot install the SIGBUS handler");
  for (Mapping& m : mappings) {
    if (m.begin.load()) continue;
    const size_t n = std::min(name.size(), m.name.size() - 1);
    std::memcpy(m.name.data(), name.data(), n);
    m.name[n] = 0;
    m.size = size;
    m.begin = data;
    return;
  }
  // More than 512 mappings: these still work, only their SIGBUS has no message.
}

void unwatch(const std::byte* data) {
  const std::lock_guard lock(mappings_mutex);
  for (Mapping& m : mappings)
    if (m.begin.load() == data) m.begin = nullptr;
}

const char* kind_of(mode_t mode) {
  if (S_ISDIR(mode)) return "a folder";
  if (S_ISFIFO(mode)) return "a pipe";
  return S_ISCHR(mode) || S_ISBLK(mode) ? "a device" : "something else";
}

}  // namespace

InputFile::InputFile(const std::filesystem::path& path) : path_(path) {
  fd_ =
      ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK /* a pipe without a writer is refused, not waited for */);
  if (fd_ < 0) throw Error(cat(path.string(), ": cannot be opened: ", std::strerror(errno)));
  struct stat info {};
  if (::fstat(fd_, &info) != 0 || !S_ISREG(info.st_mode)) {
    ::close(fd_);
    throw Error(cat(path.string(), ": expected a file, found ", kind_of(info.st_mode)));
  }
  size_ = static_cast<uint64_t>(info.st_size);
}

InputFile::InputFile(InputFile&& other) noexcept : path_(std::move(other.path_)), fd_(other.fd_), size_(other.size_) {
  other.fd_ = -1;
}

InputFile::~InputFile() {
  if (fd_ >= 0) ::close(fd_);
}

void InputFile::read(uint64_t offset, void* out, size_t size) const {
  size_t done = 0;
  while (done < size) {
    const ssize_t n = ::pread(fd_, static_cast<char*>(out) + done, size - done, static_cast<off_t>(offset + done));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) throw Error(cat(path_.string(), ": reading failed at byte ", offset + done, ": ", std::strerror(errno)));
    if (n == 0)
      throw Error(cat(path_.string(), ": expected ", size, " bytes at offset ", offset, ", found ", done,
                      " (the file ends at byte ", offset + done, ")"));
    done += static_cast<size_t>(n);
  }
}

MappedFile::MappedFile(const InputFile& file) : size_(file.size()), name_(file.path().string()) {
  if (size_ == 0) return;
  void* data = ::mmap(nullptr, size_, PROT_READ, MAP_SHARED, file.descriptor(), 0);
  if (data == MAP_FAILED) throw Error(cat(name_, ": cannot be mapped into memory: ", std::strerror(errno)));
  data_ = static_cast<const std::byte*>(data);
  watch(data_, size_, name_);
}

MappedFile::~MappedFile() {
  if (!data_) return;
  unwatch(data_);
  ::munmap(const_cast<std::byte*>(data_), size_);
}

void MappedFile::release(std::span<const std::byte> part) const {
  if (part.empty()) return;
  const auto page = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
  const uintptr_t begin = (reinterpret_cast<uintptr_t>(part.data()) + page - 1) / page * page;
  const uintptr_t end = reinterpret_cast<uintptr_t>(part.data() + part.size()) / page * page;
  if (begin < end) ::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
}

}  // namespace fathom
