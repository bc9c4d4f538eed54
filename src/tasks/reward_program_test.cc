// Reward programs: good ones answer in order; looping, forking, writing and lying ones are contained and named.
#include "tasks/reward_program.h"

#include <unistd.h>

#include <chrono>
#include <cstdlib>

#include "base/error.h"
#include "tests/precompiled.h"
#include "tests/testing.h"

namespace fathom {
namespace {

namespace fs = std::filesystem;

class RewardProgramTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (::access("/usr/bin/bwrap", X_OK) != 0) GTEST_SKIP() << "needs bubblewrap";
    try {
      RewardProgram program({"sh", "-c", "read line; echo '{\"reward\": 1}'"});
      program.rewards(std::vector<RewardRequest>(1));
    } catch (const Error& e) {
      GTEST_SKIP() << "needs a system that lets bubblewrap work: " << e.what();
    }
  }
  static std::vector<RewardRequest> requests(size_t n) {
    std::vector<RewardRequest> out;
    for (size_t i = 0; i < n; ++i) out.push_back({"say\n\"x\"", std::string(i * 7 % 50, 'x'), "xyz"});
    return out;
  }
  static std::string error_of(const std::vector<std::string>& command, const RewardProgramLimits& limits = {}) {
    try {
      RewardProgram(command, limits).rewards(requests(3));
    } catch (const Error& e) {
      return e.what();
    }
    return "no error";
  }
  static std::string error_of_shell(const std::string& script, const RewardProgramLimits& limits = {}) {
    return error_of({"sh", "-c", script}, limits);
  }
  /// Whether any process has `word` in its command line.
  static bool runs(const std::string& word) {
    for (const auto& entry : fs::directory_iterator("/proc")) {
      std::ifstream in(entry.path() / "cmdline");
      const std::string line(std::istreambuf_iterator<char>(in), {});
      if (line.find(word) != std::string::npos) return true;
    }
    return false;
  }
};

using ::testing::HasSubstr;

TEST_F(RewardProgramTest, AnswersInOrderAndStaysForTheNextCall) {
  // The rewards tell the length of the completion, and count the requests since the start.
  RewardProgram program({"python3", "-c",
                         "import json, sys\n"
                         "for n, line in enumerate(sys.stdin):\n"
                         "  r = json.loads(line)\n"
                         "  assert sorted(r) == ['answer', 'completion', 'prompt'] and r['prompt'] == 'say\\n\"x\"'\n"
                         "  print(json.dumps({'reward': len(r['completion']) + n / 4096, 'why': 0}), flush=True)\n"});
  size_t count = 0;
  for (const size_t n : {1, 2000, 2}) {
    const std::vector<RewardRequest> batch = requests(n);
    const std::vector<double> rewards = program.rewards(batch);
    ASSERT_EQ(rewards.size(), n);
    for (size_t i = 0; i < n; ++i, ++count)
      ASSERT_EQ(rewards[i], static_cast<double>(batch[i].completion.size()) + static_cast<double>(count) / 4096);
  }
}

TEST_F(RewardProgramTest, ALoopIsEndedAfterItsTime) {
  EXPECT_THAT(error_of_shell("sleep 98765 & read a; echo '{\"reward\": 1}'; while :; do :; done", {.seconds = 0.2}),
              HasSubstr("request 2 of 3: expected an answer within 0.2 s, found none"));
  EXPECT_FALSE(runs("98765"));
}

TEST_F(RewardProgramTest, ProcessesAreLimitedAndNoneIsLeft) {
  const std::string error =
      error_of_shell("f() { sleep 98765 & f; }; f; sleep 98765", {.sandbox = {.processes = 20}, .seconds = 0.3});
  EXPECT_THAT(error, HasSubstr("ork"));  // "Cannot fork"
  EXPECT_FALSE(runs("98765"));
}

TEST_F(RewardProgramTest, FilesCannotBeWrittenAndTheDiskOfTheSandboxIsSmall) {
  const std::string script =
      "read a; r=0; for f in \"$PWD/evil\" /evil /run/evil /dev/shm/evil /etc/passwd; do (echo x > \"$f\") 2>&- && "
      "r=1; "
      "done; echo \"{\\\"reward\\\": $r}\"; head -c 3000000 /dev/zero 2>&- > /tmp/f; "
      "read a; echo \"{\\\"reward\\\": $(stat -c %s /tmp/f)}\"";
  RewardProgram program({"sh", "-c", script}, {.sandbox = {.disk_bytes = 1 << 20}});
  const std::vector<double> rewards = program.rewards(requests(2));
  EXPECT_EQ(rewards[0], 0);
  EXPECT_LE(rewards[1], 1 << 20);
  EXPECT_FALSE(fs::exists(fs::current_path() / "evil"));
}

TEST_F(RewardProgramTest, ThereIsNoNetworkNoSecretAndNoPrivilege) {
  ::setenv("FATHOM_TEST_SECRET", "x", 1);
  const std::string script =
      "read a; echo \"{\\\"reward\\\": $(tail -n +3 /proc/net/dev | grep -vc ' *lo:')}\"; "
      "read a; echo \"{\\\"reward\\\": $(env | grep -c SECRET)}\"; "
      "read a; echo \"{\\\"reward\\\": $(grep -c 'CapEff:.*[1-9a-f]' /proc/self/status)}\"; "
      "read a; echo \"{\\\"reward\\\": $(cat /etc/shadow 2>&- | wc -l)}\"; "
      "read a; echo \"{\\\"reward\\\": $(ls /tmp /run | grep -vc :)}\"";
  RewardProgram program({"sh", "-c", script});
  EXPECT_EQ(program.rewards(requests(4)), (std::vector<double>{0, 0, 0, 0}));
  ::unsetenv("FATHOM_TEST_SECRET");
}

TEST_F(RewardProgramTest, MemoryIsLimited) {
  const RewardProgramLimits limits{.sandbox = {.memory_bytes = 48 << 20}};
  EXPECT_THAT(error_of({"python3", "-c", "import time; x = bytearray(100 << 20); time.sleep(9)"}, limits),
              HasSubstr("expected at most 48 MiB of memory, found "));
  EXPECT_THAT(error_of({"python3", "-c", "x = bytearray(1 << 30)"}, limits),
              HasSubstr("found its end (exit code 1); its last message: MemoryError"));
}

TEST_F(RewardProgramTest, WhatIsNoAnswerIsNamed) {
  const std::string one = "read a; echo '{\"reward\": 1}'; ";
  EXPECT_THAT(error_of_shell(one + "echo '{\"reward\": NaN}'"),
              HasSubstr("request 2 of 3: expected {\"reward\": number}, found '{\"reward\": NaN}'"));
  EXPECT_THAT(error_of_shell(one + "echo '{\"reward\": 1e999}'"), HasSubstr("1e999"));
  EXPECT_THAT(error_of_shell("echo '{\"reward\": \"1\"}'"), HasSubstr("request 1 of 3: expected {\"reward\": number}"));
  EXPECT_THAT(error_of_shell("echo 1"), HasSubstr("found '1'"));
  EXPECT_THAT(error_of_shell(one + one + R"(read a; printf '{"reward": 1}\n{"reward": 1}\n'; sleep 9)"),
              HasSubstr("request 3 of 3: expected one line per request, found another line"));
  EXPECT_THAT(error_of_shell(one + one + R"(read a; printf '{"reward": 1}\nx'; sleep 9)"),
              HasSubstr("request 3 of 3: expected one line per request, found more behind the last one"));
  EXPECT_THAT(error_of_shell("yes '{\"reward\": 1}'"), HasSubstr("expected one line per request, found another line"));
  EXPECT_THAT(error_of_shell("tr '\\0' x < /dev/zero"), HasSubstr("expected a line of at most 65536 bytes"));
  EXPECT_THAT(error_of_shell("tr '\\0' x < /dev/zero >&2"), HasSubstr("bytes of messages"));
  EXPECT_THAT(error_of_shell(one + "echo oh no >&2; exit 3"),
              HasSubstr("request 2 of 3: expected an answer, found its end (exit code 3); its last message: oh no"));
  EXPECT_THAT(error_of({"no-such-program"}), HasSubstr("no-such-program"));
}

TEST_F(RewardProgramTest, AfterAFailureTheNextCallStartsItAnew) {
  RewardProgram program({"sh", "-c", "read a; echo '{\"reward\": 5}'"});
  EXPECT_EQ(program.rewards(requests(1)), std::vector<double>{5});
  EXPECT_THROW(program.rewards(requests(1)), Error) << "it has ended";
  EXPECT_EQ(program.rewards(requests(1)), std::vector<double>{5});
}

TEST(RewardProgram, NamesThePackageThatIsMissing) {
  const testing::TempDir empty;
  const std::string path = std::getenv("PATH");
  ::setenv("PATH", empty.path().c_str(), 1);
  try {
    RewardProgram({"true"}).rewards(std::vector<RewardRequest>(1));
    ADD_FAILURE();
  } catch (const Error& e) {
    EXPECT_THAT(e.what(), HasSubstr("expected the program bwrap (package bubblewrap)"));
  }
  ::setenv("PATH", path.c_str(), 1);
}

}  // namespace
}  // namespace fathom
