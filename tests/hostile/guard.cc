#include "tests/hostile/guard.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <new>

#include "base/error.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define FATHOM_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define FATHOM_SANITIZED 1
#endif
#endif

extern "C" void __gcov_dump() __attribute__((weak));  // there in builds that measure coverage

namespace fathom::testing {
namespace {

#ifdef FATHOM_SANITIZED
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = false;
#endif
constexpr unsigned kLastResort_s = 300;  // ends a child that waits for something; no test asserts on it

/// What child and parent share.
struct Shared {
  std::atomic<uint64_t> step{0};
  std::array<std::atomic<uint64_t>, 8> counts{};
};
Shared& shared() {
  static Shared* const page = [] {
    void* memory =
        ::mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, /*fd=*/-1, /*offset=*/0);
    check(memory != MAP_FAILED, "no shared page for a guarded test");
    return new (memory) Shared;
  }();
  return *page;
}

/// Private memory that the process has, by /proc/self/status.
uint64_t data_bytes() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.starts_with("VmData:")) return std::stoull(line.substr(7)) << 10;
  return 0;
}

void limit(decltype(RLIMIT_CPU) what, uint64_t value) {
  const rlimit both{value, value};
  check(::setrlimit(what, &both) == 0, "a limit of a guarded test could not be set");
}

void send(int to, char kind, const std::string& text) {
  const std::string all = kind + text;
  for (size_t done = 0; done < all.size();) {
    const ssize_t n = ::write(to, all.data() + done, all.size() - done);
    if (n <= 0) break;
    done += static_cast<size_t>(n);
  }
}

[[noreturn]] void run_child(const std::function<void()>& body, const GuardLimits& limits, int to) {
  limit(RLIMIT_CORE, 0);
  limit(RLIMIT_CPU, limits.cpu_s * (kSanitized ? 5 : 1));
  if (!kSanitized) limit(RLIMIT_DATA, data_bytes() + (limits.memory_mib << 20));
  ::alarm(kLastResort_s);
  try {
    body();
    send(to, 'R', "");
  } catch (const Error& e) {
    send(to, 'E', e.what());
  } catch (const std::bad_alloc&) {
    send(to, 'F', cat("took more than ", limits.memory_mib, " MiB of memory"));
  } catch (const std::exception& e) {
    send(to, 'F', cat("threw something else than an Error: ", e.what()));
  }
  if (__gcov_dump) __gcov_dump();
  ::_exit(0);
}

std::string ending_of(int status) {
  if (WIFSIGNALED(status)) {
    const int number = WTERMSIG(status);
    if (number == SIGKILL || number == SIGXCPU) return "took more than its processor time";
    return cat("ended by signal ", number, ", ", ::strsignal(number));
  }
  return cat("ended with exit code ", WEXITSTATUS(status));
}

}  // namespace

Ending guarded(const std::function<void()>& body, const GuardLimits& limits) {
  Shared& page = shared();
  page.step = 0;
  for (auto& count : page.counts) count = 0;
  int ends[2];
  check(::pipe(ends) == 0, "no pipe for a guarded test");
  std::fflush(nullptr);
  const pid_t child = ::fork();
  check(child >= 0, "no process for a guarded test");
  if (child == 0) {
    ::close(ends[0]);
    run_child(body, limits, ends[1]);
  }
  ::close(ends[1]);
  std::string said;
  char buffer[4096];
  for (ssize_t n; (n = ::read(ends[0], buffer, sizeof buffer)) > 0;) said.append(buffer, static_cast<size_t>(n));
  ::close(ends[0]);
  int status = 0;
  ::waitpid(child, &status, 0);
  Ending ending;
  if (said.empty() || status != 0)
    ending.failure = ending_of(status);
  else if (said[0] != 'R')
    (said[0] == 'E' ? ending.error : ending.failure) = said.substr(1);
  if (!ending.failure.empty() && page.step) ending.failure += cat(", at step ", page.step.load());
  return ending;
}

void at_step(uint64_t step) { shared().step = step; }
void count_in(size_t slot) { ++shared().counts.at(slot); }
uint64_t counted(size_t slot) { return shared().counts.at(slot); }

}  // namespace fathom::testing
