#include "cli/bench_rival.h"

#include <gtest/gtest.h>

#include <fstream>
#include <functional>
#include <thread>

#include "base/json.h"
#include "base/work.h"
#include "tests/testing.h"

namespace fathom {
namespace {

const RivalTest kPrefill{.model = "/m/a.gguf", .prompt = 512, .threads = 2};
const RivalTest kDecode{.model = "/m/a.gguf", .decode = 64, .depth = 1000, .threads = 2};

std::string error_of(const std::function<void()>& f) {
  try {
    f();
  } catch (const Error& e) {
    return e.what();
  }
  return "no error";
}

TEST(BenchRival, FillsThePlacesIn) {
  EXPECT_EQ(rival_command("b -m {model} -p {prompt} -n {decode} -d {depth} -t {threads} -b {batch}", kDecode),
            "b -m '/m/a.gguf' -p 0 -n 64 -d 1000 -t 2 -b 1");
  EXPECT_EQ(rival_command("{prompt}{prompt} awk '{print}' ${HOME} {nothing} {", kPrefill),
            "512512 awk '{print}' ${HOME} {nothing} {");
  EXPECT_TRUE(takes_batches("x {batch}"));
  EXPECT_FALSE(takes_batches("x {prompt} batch"));
}

TEST(BenchRival, ReadsTheSpeedOfATrainingStep) {
  EXPECT_EQ(rival_training_speed("warming up\n{\"tokens_per_s\": 1234.5}\n"), 1234.5);
  for (const char* wrong : {"", "1234.5", "{}", "{\"tokens_per_s\": 0}", "{\"tokens_per_s\": \"fast\"}"})
    EXPECT_THROW(rival_training_speed(wrong), RivalError) << wrong;
}

TEST(BenchRival, AModelsNameIsNoPartOfTheShellsLanguage) {
  const std::atomic<bool> stop{false};
  for (const char* name : {"a b", "it's", "$(echo x)", "`x`;\"\\", "{prompt}", "-n"})
    EXPECT_EQ(run_rival(rival_command("printf %s {model}", {.model = name}), stop), name);
}

TEST(BenchRival, ReadsTheTestOutOfTheJsonOfLlamaBench) {
  constexpr const char* kOutput = R"([{"n_prompt": 512, "n_gen": 0, "n_depth": 0, "avg_ts": 90.5},
    {"n_prompt": 512, "n_gen": 0, "n_depth": 1000, "avg_ts": 80}, {"n_prompt": 0, "n_gen": 64, "n_depth": 1000, "avg_ts": 20},
    {"n_prompt": 0, "n_gen": 64, "n_depth": 0, "avg_ts": 22}])";
  EXPECT_EQ(rival_speed(kOutput, kPrefill), 90.5);
  EXPECT_EQ(rival_speed(kOutput, kDecode), 20);
  RivalTest other = kDecode;
  other.decode = 128;
  EXPECT_NE(error_of([&] {
              rival_speed(kOutput, other);
            }).find("n_gen 128, n_depth 1000 in the command's JSON, found 0 among 4"),
            std::string::npos);
}

TEST(BenchRival, WithoutADepthThePromptIsTheDepth) {
  constexpr const char* kOutput =
      R"([{"n_prompt": 1000, "n_gen": 64, "avg_ts": 19}, {"n_prompt": 512, "n_gen": 0, "avg_ts": 91}])";
  EXPECT_EQ(rival_speed(kOutput, kDecode), 19);
  EXPECT_EQ(rival_speed(kOutput, kPrefill), 91);
  RivalTest other = kDecode;
  other.depth = 0;
  EXPECT_NE(error_of([&] { rival_speed(kOutput, other); }).find("found 0 among 2"), std::string::npos);
}

TEST(BenchRival, TwoAnswersToOneTestAreAnError) {
  constexpr const char* kEntry = R"({"n_prompt": 512, "n_gen": 0, "n_depth": 0, "avg_ts": 90})";
  EXPECT_EQ(rival_speed(kEntry, kPrefill), 90);
  EXPECT_NE(error_of([&] { rival_speed(cat("[", kEntry, ",", kEntry, "]"), kPrefill); }).find("found 2 among 2"),
            std::string::npos);
}

TEST(BenchRival, OrTakesTheLastNumberOfTheLastLine) {
  EXPECT_EQ(rival_speed("loading 7\n512 tokens: 81.25 tok/s\n\n", kPrefill), 81.25);
  EXPECT_EQ(rival_speed("1.5e2", kPrefill), 150);
  for (const char* output : {"", "\n", "99\nfast", "0", "1e999", "[1", "[]", R"([{"n_gen": "x"}])", R"({"avg_ts": 1})",
                             R"([{"n_prompt": 512, "n_gen": 0, "n_depth": 0, "avg_ts": -1}])"})
    EXPECT_THROW(rival_speed(output, kPrefill), Error) << output;
}

TEST(BenchRival, AFailureShowsItsLastLines) {
  const std::atomic<bool> stop{false};
  EXPECT_EQ(run_rival("echo out; echo err >&2", stop), "out\n");
  const std::string error = error_of([&] { run_rival("seq 1 20 >&2; echo 12; exit 7", stop); });
  EXPECT_NE(error.find("exit code 7"), std::string::npos) << error;
  EXPECT_NE(error.find("seq 1 20"), std::string::npos) << error;
  EXPECT_NE(error.find("its last lines:\n  11\n  12\n"), std::string::npos) << error;
  EXPECT_TRUE(error.ends_with("\n  20")) << error;
  EXPECT_NE(error_of([&] { run_rival("echo why; kill -9 $$", stop); }).find("signal 9"), std::string::npos);
  EXPECT_NE(error_of([&] { run_rival("/nowhere/llama-bench", stop); }).find("exit code 127"), std::string::npos);
}

TEST(BenchRival, MuchOutputBlocksNobody) {
  const std::atomic<bool> stop{false};
  EXPECT_EQ(run_rival("head -c 300000 /dev/zero | tr '\\0' x >&2; head -c 200000 /dev/zero | tr '\\0' y", stop),
            std::string(200000, 'y'));
}

TEST(BenchRival, StoppedItTakesItsChildrenAlong) {
  const testing::TempDir folder;
  const std::filesystem::path pid_file = folder.path() / "pid";
  std::atomic<bool> stop{false};
  std::jthread stopper([&] {
    while (!std::filesystem::exists(pid_file)) std::this_thread::yield();
    stop = true;
  });
  const std::string command = cat("(sleep 1000 & echo $! > ", pid_file.string(), ".part; mv ", pid_file.string(),
                                  ".part ", pid_file.string(), "; wait)");
  EXPECT_THROW(run_rival(command, stop), Interrupted);
  const std::string status = cat("/proc/", std::stol(read_text_file(pid_file)), "/status");
  const auto alive = [&] {
    std::ifstream in(status);
    for (std::string word; in >> word;)
      if (word == "State:" && in >> word) return word != "Z" && word != "X";  // a zombie waits for its new parent
    return false;
  };
  while (alive()) std::this_thread::yield();  // its death takes a moment
}

}  // namespace
}  // namespace fathom
