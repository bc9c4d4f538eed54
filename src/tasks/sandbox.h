// A program of the user's, run so that it can do no harm: bubblewrap without network, with a read-only view of the
// files, an empty /tmp and /run, and limits. Called by reward_program.cc and server/app/. For the thread that made it,
// with which it ends.
#pragma once
#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

namespace fathom {

struct SandboxLimits {
  uint64_t memory_bytes = uint64_t{1} << 30;  ///< of all its processes together; each may map four times as much
  uint64_t disk_bytes = uint64_t{64} << 20;   ///< of its /tmp, which is in memory and counted besides
  uint32_t processes = 64;                    ///< threads count too
};

class SandboxedProcess {
 public:
  /// Starts `command` (words, the first found in PATH) in the current folder. A root user's program runs as nobody, so
  /// it reads what everybody may read. The environment has PATH, HOME=/tmp and LANG only.
  /// Throws Error if bwrap is not installed (package bubblewrap), ResourceError if no process can be started. Whether
  /// the command itself starts is seen at its first answer.
  SandboxedProcess(const std::vector<std::string>& command, const SandboxLimits& limits);
  /// Ends the program and everything it has started.
  ~SandboxedProcess();
  SandboxedProcess(const SandboxedProcess&) = delete;
  SandboxedProcess& operator=(const SandboxedProcess&) = delete;

  int input() const { return input_; }    ///< its standard input; writing does not block
  void close_input();                     ///< no more comes: it reads the end
  int output() const { return output_; }  ///< its standard output; reading does not block
  int errors() const { return errors_; }  ///< its standard error; reading does not block
  /// Bytes of memory that its processes hold now.
  uint64_t memory_bytes() const;
  /// Ends it, and says how it has ended if it did so by itself within `grace_ms`: "exit code 1", "signal 9".
  std::string end(int grace_ms = 0);

 private:
  pid_t pid_ = -1;  // of bwrap, whose end ends all; -1: ended
  int input_ = -1, output_ = -1, errors_ = -1;
};

/// Writes what the pipe takes, at most `size` bytes; 0 where it takes none now, -1 where nobody reads any more. Raises
/// no signal.
ssize_t write_to_program(int pipe, const char* data, size_t size);

}  // namespace fathom
