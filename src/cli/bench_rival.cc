#include "cli/bench_rival.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstring>
#include <optional>
#include <utility>

#include "base/json.h"
#include "base/trimmed.h"
#include "base/work.h"
#include "cli/sanitize.h"

namespace fathom {
namespace {

constexpr size_t kMostOutput = size_t{16} << 20, kMostErrors = size_t{64} << 10, kLastLines = 10;
constexpr int kPollMs = 50;

/// The last lines, indented.
std::string last_lines(std::string_view text) {
  text = trimmed(text);
  size_t begin = text.size();
  for (size_t n = 0; n < kLastLines && begin != std::string_view::npos && begin > 0; ++n)
    begin = text.rfind('\n', begin - 1);
  if (begin != std::string_view::npos && begin > 0) text.remove_prefix(begin + 1);
  std::string out = "  ";
  for (const char c : sanitized(text)) out += c == '\n' ? std::string("\n  ") : std::string(1, c);
  return out;
}

std::optional<double> last_number(std::string_view line) {
  std::optional<double> found;
  const char *at = line.data(), *end = line.data() + line.size();
  while (at != end) {
    if (*at < '0' || *at > '9') {
      ++at;
      continue;
    }
    double value = 0;
    const std::from_chars_result result = std::from_chars(at, end, value);
    if (result.ec == std::errc()) found = value;
    at = result.ptr;
  }
  return found;
}

/// One end of a pipe that closes itself.
class Descriptor {
 public:
  explicit Descriptor(int fd = -1) : fd_(fd) {}
  ~Descriptor() { reset(); }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return fd_; }
  void reset(int fd = -1) {
    if (const int old = std::exchange(fd_, fd); old >= 0) ::close(old);
  }

 private:
  int fd_;
};

/// /bin/sh with one command. Whatever is left of its process group when this ends is killed.
class Shell {
 public:
  explicit Shell(const std::string& command) {
    std::array<Descriptor, 2> written;
    for (size_t i = 0; i < 2; ++i) {
      std::array<int, 2> ends{};
      if (::pipe2(ends.data(), O_CLOEXEC) != 0) throw ResourceError(cat("pipe: ", std::strerror(errno)));
      read_[i].reset(ends[0]);
      written[i].reset(ends[1]);
      ::fcntl(ends[0], F_SETFL, O_NONBLOCK);
    }
    posix_spawn_file_actions_t files;
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&files, written[0].get(), 1);
    posix_spawn_file_actions_adddup2(&files, written[1].get(), 2);
    posix_spawnattr_t attributes;
    posix_spawnattr_init(&attributes);
    sigset_t defaults;
    sigemptyset(&defaults);
    sigaddset(&defaults, SIGXFSZ);  // ignored here (cli/app.cc); a caught signal is reset by itself
    posix_spawnattr_setsigdefault(&attributes, &defaults);
    posix_spawnattr_setpgroup(&attributes, 0);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGDEF);
    std::array<std::string, 3> words{"sh", "-c", command};
    std::array<char*, 4> argv{words[0].data(), words[1].data(), words[2].data(), nullptr};
    const int error = ::posix_spawn(&pid_, "/bin/sh", &files, &attributes, argv.data(), environ);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&files);
    if (error != 0) throw ResourceError(cat("/bin/sh: ", std::strerror(error)));
  }
  ~Shell() {
    ::kill(-pid_, SIGKILL);  // the group's number is nobody else's until its first process is waited for
    ::waitpid(pid_, nullptr, 0);
  }
  Shell(const Shell&) = delete;
  Shell& operator=(const Shell&) = delete;

  /// Until the shell has ended: how, "" where it was with 0.
  std::string wait(const std::atomic<bool>& stop) {
    siginfo_t info{};
    while (info.si_pid == 0) {
      if (stop) throw Interrupted();
      std::array<pollfd, 2> ready{pollfd{read_[0].get(), POLLIN, 0}, pollfd{read_[1].get(), POLLIN, 0}};
      ::poll(ready.data(), ready.size(), kPollMs);
      // Before the last look at the pipes, which somebody else may hold open.
      ::waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOHANG | WNOWAIT);
      take(read_[0], output, kMostOutput);
      take(read_[1], errors, kMostErrors);
    }
    if (info.si_code == CLD_EXITED) return info.si_status == 0 ? "" : cat("exit code ", info.si_status);
    return cat("signal ", info.si_status);
  }

  std::string output, errors;  ///< the end of each, where there is too much

 private:
  static void take(Descriptor& from, std::string& text, size_t most) {
    std::array<char, 4096> piece{};
    ssize_t n = 0;
    while (from.get() >= 0 && (n = ::read(from.get(), piece.data(), piece.size())) > 0) {
      text.append(piece.data(), static_cast<size_t>(n));
      if (text.size() > 2 * most) text.erase(0, text.size() - most);
    }
    if (n == 0) from.reset();
  }

  pid_t pid_ = 0;
  std::array<Descriptor, 2> read_;
};

/// llama-bench's object for `test`. Programs without n_depth (ik_llama.cpp: -gp DEPTH,DECODE) call it n_prompt.
bool is_of(const JsonObject& entry, const RivalTest& test) {
  const auto is = [&](std::string_view key, size_t want) {
    return entry.has(key) && entry.integer(key) == static_cast<int64_t>(want);
  };
  if (!is("n_gen", test.decode)) return false;
  if (entry.has("n_depth")) return is("n_prompt", test.prompt) && is("n_depth", test.depth);
  return is("n_prompt", test.decode ? test.depth : test.prompt);
}

double json_speed(std::string_view text, const RivalTest& test) {
  const json::value root = parse_json(text, "--compare: the command's output");
  const json::array entries = root.is_array() ? root.get_array() : json::array{root};
  std::optional<double> found;
  size_t matches = 0;
  for (const json::value& value : entries) {
    const JsonObject entry(value, "--compare: llama-bench's result");
    if (!is_of(entry, test)) continue;
    found = entry.number("avg_ts");
    ++matches;
  }
  if (matches != 1)
    throw Error(cat("--compare: expected one test with n_prompt ", test.prompt, ", n_gen ", test.decode, ", n_depth ",
                    test.depth, " in the command's JSON, found ", matches, " among ", entries.size()));
  return *found;
}

}  // namespace

std::string shell_word(std::string_view text) {
  std::string out = "'";
  for (const char c : text)
    if (c == '\'')
      out += "'\\''";
    else
      out += c;
  return out + "'";
}

std::string fill_places(std::string_view pattern, std::span<const RivalPlace> places) {
  std::string out;
  while (!pattern.empty()) {
    size_t taken = 1;
    std::string_view put = pattern.substr(0, 1);
    for (const auto& [place, text] : places)
      if (pattern.starts_with(place)) put = text, taken = place.size();
    out += put;
    pattern.remove_prefix(taken);
  }
  return out;
}

std::string rival_command(std::string_view pattern, const RivalTest& test) {
  const RivalPlace places[] = {{"{model}", shell_word(test.model)},         {"{prompt}", std::to_string(test.prompt)},
                               {"{decode}", std::to_string(test.decode)},   {"{depth}", std::to_string(test.depth)},
                               {"{threads}", std::to_string(test.threads)}, {"{batch}", std::to_string(test.batch)}};
  return fill_places(pattern, places);
}

bool takes_batches(std::string_view pattern) { return pattern.find("{batch}") != std::string_view::npos; }

std::string run_rival(const std::string& command, const std::atomic<bool>& stop) {
  Shell shell(command);
  const std::string failure = shell.wait(stop);
  if (failure.empty()) return std::move(shell.output);
  const std::string& said = trimmed(shell.errors).empty() ? shell.output : shell.errors;
  throw RivalError(cat("--compare: the command ended with ", failure, ":\n  ", sanitized(command),
                       "\nits last lines:\n", last_lines(said)));
}

double rival_speed(std::string_view output, const RivalTest& test) {
  const std::string_view text = trimmed(output);
  const bool is_json = text.starts_with('[') || text.starts_with('{');
  std::optional<double> speed;
  try {
    speed = is_json ? json_speed(text, test) : last_number(text.substr(text.rfind('\n') + 1));  // npos + 1 is 0
  } catch (const Error& e) {
    throw RivalError(e.what());
  }
  if (speed && std::isfinite(*speed) && *speed > 0) return *speed;
  throw RivalError(cat("--compare: expected llama-bench's JSON or a last line that ends with tokens per second, found",
                       text.empty() ? std::string(" nothing") : ":\n" + last_lines(text)));
}

double rival_training_speed(std::string_view output) {
  const std::string_view text = trimmed(output);
  try {
    const json::value root = parse_json(text.substr(text.rfind('\n') + 1), "--compare: the command's last line");
    const double speed = JsonObject(root, "--compare: the command's last line").number("tokens_per_s");
    if (std::isfinite(speed) && speed > 0) return speed;
    throw Error(cat("--compare: tokens_per_s: expected more than 0, found ", speed));
  } catch (const Error& e) {
    throw RivalError(e.what());
  }
}

}  // namespace fathom
