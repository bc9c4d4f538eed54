#include "tasks/sandbox.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string_view>

#include "base/error.h"

namespace fathom {
namespace {

constexpr const char* kPath = "/usr/local/bin:/usr/bin:/bin";
constexpr const char* kNobody = "65534";

bool in_path(const std::string& program) {
  const char* path = std::getenv("PATH");
  std::string_view rest = path ? path : kPath;
  while (!rest.empty()) {
    const std::string_view folder = rest.substr(0, rest.find(':'));
    rest.remove_prefix(std::min(folder.size() + 1, rest.size()));
    if (::access((std::string(folder) + "/" + program).c_str(), X_OK) == 0) return true;
  }
  return false;
}

std::vector<std::string> command_line(const std::vector<std::string>& command, const SandboxLimits& limits) {
  std::vector<std::string> out;
  const auto add = [&](std::initializer_list<std::string> words) { out.insert(out.end(), words); };
  // Inside a user namespace root would still be root to the files outside of it.
  if (::geteuid() == 0) add({"setpriv", "--reuid", kNobody, "--regid", kNobody, "--clear-groups"});
  add({"bwrap", "--unshare-all", "--die-with-parent", "--new-session", "--cap-drop", "ALL", "--clearenv"});
  add({"--setenv", "PATH", kPath, "--setenv", "HOME", "/tmp", "--setenv", "LANG", "C.UTF-8"});
  // A read-only file system does not keep a program from talking to sockets in it: /run, where they are, is hidden.
  add({"--ro-bind", "/", "/", "--dev", "/dev", "--remount-ro", "/dev", "--proc", "/proc", "--tmpfs", "/run"});
  add({"--remount-ro", "/run", "--size", cat(limits.disk_bytes), "--tmpfs", "/tmp"});
  add({"--chdir", std::filesystem::current_path().string()});
  // Set inside: the number of processes is then counted in the sandbox alone.
  add({"prlimit", cat("--nproc=", limits.processes), cat("--as=", limits.memory_bytes * 4), "--core=0", "--nofile=256",
       "--"});
  out.insert(out.end(), command.begin(), command.end());
  return out;
}

struct Pipe {
  int read = -1, write = -1;
};

Pipe make_pipe() {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0)
    throw ResourceError(cat("sandbox: expected a pipe, found: ", std::strerror(errno)));
  return {ends[0], ends[1]};
}

void set_nonblocking(int fd) { ::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) | O_NONBLOCK); }

uint64_t resident_bytes(pid_t pid) {
  std::ifstream in(cat("/proc/", pid, "/statm"));
  uint64_t total_pages = 0, pages = 0;
  in >> total_pages >> pages;
  return pages * static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
}

std::vector<pid_t> children_of(pid_t pid) {
  std::vector<pid_t> out;
  std::error_code gone;
  for (std::filesystem::directory_iterator at(cat("/proc/", pid, "/task"), gone), end; !gone && at != end;
       at.increment(gone)) {
    std::ifstream children(at->path() / "children");
    for (pid_t child = 0; children >> child;) out.push_back(child);
  }
  return out;
}

/// Of the process and all that it and its children have started.
uint64_t resident_bytes_of_tree(pid_t pid) {
  uint64_t bytes = resident_bytes(pid);
  for (const pid_t child : children_of(pid)) bytes += resident_bytes_of_tree(child);
  return bytes;
}

/// Waits for the end of a child; nullopt: it has not ended within the time.
std::optional<int> wait_for(pid_t pid, int milliseconds) {
  for (int status = 0;; milliseconds -= 2) {
    if (::waitpid(pid, &status, WNOHANG) == pid) return status;
    if (milliseconds <= 0) return std::nullopt;
    ::usleep(2000);
  }
}

}  // namespace

SandboxedProcess::SandboxedProcess(const std::vector<std::string>& command, const SandboxLimits& limits) {
  if (command.empty()) throw Error("sandbox: expected a command, found none");
  for (const char* program : {"bwrap", "prlimit", "setpriv"})
    if (!in_path(program))
      throw Error(cat("sandbox: expected the program ", program, " (package ",
                      std::string_view(program) == "bwrap" ? "bubblewrap" : "util-linux", "), found none in PATH"));
  const Pipe in = make_pipe(), out = make_pipe(), err = make_pipe();
  input_ = in.write, output_ = out.read, errors_ = err.read;
  for (const int fd : {input_, output_, errors_}) set_nonblocking(fd);

  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, in.read, 0);
  posix_spawn_file_actions_adddup2(&actions, out.write, 1);
  posix_spawn_file_actions_adddup2(&actions, err.write, 2);
  posix_spawn_file_actions_addclosefrom_np(&actions, 3);
  std::vector<std::string> words = command_line(command, limits);
  std::vector<char*> arguments;
  arguments.reserve(words.size() + 1);
  for (std::string& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  const int error = ::posix_spawnp(&pid_, arguments[0], &actions, nullptr, arguments.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  for (const int fd : {in.read, out.write, err.write}) ::close(fd);
  if (error != 0) {
    pid_ = -1;
    for (const int fd : {input_, output_, errors_}) ::close(fd);
    throw ResourceError(cat("sandbox: ", words[0], " cannot be started: ", std::strerror(error)));
  }
}

SandboxedProcess::~SandboxedProcess() {
  end();
  for (const int fd : {input_, output_, errors_})
    if (fd >= 0) ::close(fd);
}

void SandboxedProcess::close_input() {
  ::close(input_);
  input_ = -1;
}

uint64_t SandboxedProcess::memory_bytes() const { return pid_ > 0 ? resident_bytes_of_tree(pid_) : 0; }

std::string SandboxedProcess::end(int grace_ms) {
  if (pid_ <= 0) return "";
  const std::optional<int> status = wait_for(pid_, grace_ms);
  if (!status) {
    // bwrap's child is the first process of the sandbox: all others die before it is gone, and bwrap waits for it.
    for (const pid_t first : children_of(pid_)) ::kill(first, SIGKILL);
    if (!wait_for(pid_, 1000)) {
      ::kill(pid_, SIGKILL);
      ::waitpid(pid_, nullptr, 0);
    }
  }
  pid_ = -1;
  if (!status) return "";
  return WIFSIGNALED(*status) ? cat("signal ", WTERMSIG(*status)) : cat("exit code ", WEXITSTATUS(*status));
}

ssize_t write_to_program(int pipe, const char* data, size_t size) {
  // A program that no longer reads raises SIGPIPE in this thread: it is held back and taken off.
  sigset_t broken, before;
  sigemptyset(&broken);
  sigaddset(&broken, SIGPIPE);
  ::pthread_sigmask(SIG_BLOCK, &broken, &before);
  const ssize_t written = ::write(pipe, data, size);
  const int error = errno;
  if (written < 0 && error == EPIPE) {
    const timespec now{};
    ::sigtimedwait(&broken, nullptr, &now);
  }
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (written >= 0) return written;
  return error == EAGAIN || error == EINTR ? 0 : -1;
}

}  // namespace fathom
