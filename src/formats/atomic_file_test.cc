// What stands in the folder after a commit, an abandoned write, a killed process and beside a living one.
#include "formats/atomic_file.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <functional>

#include "base/error.h"
#include "tests/testing.h"

namespace fathom {
namespace {

using testing::read_file;
using testing::TempDir;

class AtomicFiles : public ::testing::Test {
 protected:
  std::vector<std::string> names() const {
    std::vector<std::string> out;
    for (const auto& entry : std::filesystem::directory_iterator(dir_.path())) out.push_back(entry.path().filename());
    std::sort(out.begin(), out.end());
    return out;
  }
  void write(std::string_view text) const {
    AtomicFile file(path());
    file.write(text.data(), text.size());
    file.commit();
  }
  std::filesystem::path path() const { return dir_.path() / "model.gguf"; }
  TempDir dir_;
};

/// A process of its own, ended without destructors when the returned function is called.
std::function<void()> in_a_process(const std::function<void()>& body) {
  int ready[2], end[2];
  check(::pipe(ready) == 0 && ::pipe(end) == 0, "no pipe");
  const pid_t child = ::fork();
  check(child >= 0, "no process");
  char byte = 0;
  if (child == 0) {
    ::close(end[1]);
    body();
    (void)!::write(ready[1], &byte, 1);
    (void)!::read(end[0], &byte, 1);
    ::_exit(0);
  }
  ::close(end[0]);
  check(::read(ready[0], &byte, 1) == 1, "the process died");
  return [=] {
    ::close(end[1]);
    ::close(ready[0]);
    ::close(ready[1]);
    ::waitpid(child, nullptr, 0);
  };
}

TEST_F(AtomicFiles, AppearsWithCommitAlone) {
  {
    AtomicFile file(path());
    file.write("half", 4);
    EXPECT_FALSE(std::filesystem::exists(path()));
  }
  EXPECT_EQ(names(), std::vector<std::string>());
  write("whole");
  EXPECT_EQ(names(), std::vector<std::string>{"model.gguf"});
  EXPECT_EQ(read_file(path()), "whole");
}

TEST_F(AtomicFiles, RemovesWhatAKilledProcessLeft) {
  AtomicFile* never_closed = nullptr;
  in_a_process([&] { never_closed = new AtomicFile(path()); })();
  std::ofstream(dir_.path() / "model.gguf.x.writing") << "another's";
  ASSERT_EQ(names().size(), 2u);
  write("whole");
  EXPECT_EQ(names(), (std::vector<std::string>{"model.gguf", "model.gguf.x.writing"}));
}

TEST_F(AtomicFiles, LeavesALivingWriterAlone) {
  AtomicFile* open = nullptr;
  const std::function<void()> end = in_a_process([&] { open = new AtomicFile(path()); });
  write("mine");
  EXPECT_EQ(names().size(), 2u);
  end();
}

}  // namespace
}  // namespace fathom
