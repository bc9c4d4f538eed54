// What a run folder refuses, what is visible after a kill at any point, and that it has one trainer at a time.
#include "train/run_folder.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <functional>

#include "base/error.h"
#include "tests/testing.h"

namespace fathom {
namespace {

namespace fs = std::filesystem;
using testing::read_file;
using testing::TempDir;

Recipe small_recipe() {
  Recipe recipe;
  recipe.name = "small";
  recipe.model.start = "OWNER/NAME";
  recipe.data.train = {"/data/a.txt"};
  return recipe;
}

std::string refusal(const std::function<void()>& f) {
  try {
    f();
  } catch (const Error& e) {
    return e.what();
  }
  return "accepted";
}

/// In a process of its own that dies at the end without destructors; its exit code.
int in_a_killed_process(const std::function<int()>& body) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(body());
  int status = 0;
  ::waitpid(child, &status, 0);
  return WEXITSTATUS(status);
}

class RunFolders : public ::testing::Test {
 protected:
  fs::path path() const { return dir_.path() / "run"; }
  std::string create() const {
    return refusal([&] { RunFolder::create(path(), small_recipe()); });
  }
  static void put(const fs::path& file, const std::string& text) { std::ofstream(file) << text; }
  static void save(RunFolder& run, int64_t step) {
    NewCheckpoint checkpoint = run.begin_checkpoint(step);
    fs::create_directories(checkpoint.path() / "deep");
    put(checkpoint.path() / "deep" / "model", std::to_string(step));
    checkpoint.commit();
  }
  std::vector<std::string> names(const fs::path& folder) const {
    std::vector<std::string> out;
    for (const auto& entry : fs::directory_iterator(folder)) out.push_back(entry.path().filename());
    std::sort(out.begin(), out.end());
    return out;
  }
  TempDir dir_;
};

TEST_F(RunFolders, HoldsTheRecipeAsRun) {
  EXPECT_EQ(create(), "accepted");
  EXPECT_EQ(names(path()), (std::vector<std::string>{".lock", "checkpoints", "events", "recipe.toml", "samples"}));
  EXPECT_TRUE(read_recipe(run_recipe_path(path())) == small_recipe());
  EXPECT_EQ(RunFolder::open(path()).latest_checkpoint(), std::nullopt);
  EXPECT_EQ(create(),
            path().string() + ": expected an empty folder for the run, found a run (--resume goes on with it)");
}

TEST_F(RunFolders, RefusesForeignFoldersAndLeavesThemAlone) {
  fs::create_directories(path());
  EXPECT_EQ(refusal([&] { RunFolder::open(path()); }),
            path().string() + ": expected the folder of a run, found no recipe.toml in it");
  put(path() / "thesis.tex", "x");
  EXPECT_EQ(create(), path().string() + ": expected an empty folder for the run, found thesis.tex in it");
  EXPECT_EQ(names(path()), std::vector<std::string>{"thesis.tex"});
  fs::remove(path() / "thesis.tex");
  fs::create_directories(path() / "samples");
  put(path() / "samples" / "mine", "x");
  EXPECT_EQ(create(), path().string() + ": expected an empty folder for the run, found samples in it");
  fs::remove_all(path());
  put(path(), "a file");
  EXPECT_EQ(create(), path().string() + ": expected a folder for the run, found a file");
}

TEST_F(RunFolders, TakesOverABeginningThatWasKilled) {
  fs::create_directories(path() / "events");
  put(path() / ".lock", "1");
  put(path() / "recipe.toml.77.writing", "half");
  EXPECT_EQ(create(), "accepted");
}

TEST_F(RunFolders, HasOneTrainerAtATime) {
  {
    const RunFolder mine = RunFolder::create(path(), small_recipe());
    EXPECT_EQ(
        refusal([&] { RunFolder::open(path()); }),
        cat(path().string(), ": expected a run folder that nobody trains in, found it in use by process ", ::getpid()));
    EXPECT_EQ(in_a_killed_process([&] { return refusal([&] { RunFolder::open(path()); }) == "accepted" ? 1 : 7; }), 7);
  }
  // A killed trainer holds nothing.
  EXPECT_EQ(in_a_killed_process([&] {
              static RunFolder* never_closed = nullptr;
              never_closed = new RunFolder(RunFolder::open(path()));
              return never_closed ? 3 : 0;
            }),
            3);
  RunFolder::open(path());
}

TEST_F(RunFolders, CheckpointsAppearWholeOrNotAtAll) {
  RunFolder run = RunFolder::create(path(), small_recipe());
  {
    const NewCheckpoint abandoned = run.begin_checkpoint(5);
    put(abandoned.path() / "model", "half");
    EXPECT_EQ(run.latest_checkpoint(), std::nullopt);
  }
  EXPECT_TRUE(names(path() / "checkpoints").empty());
  save(run, 10);
  save(run, 9);
  EXPECT_EQ(run.latest_checkpoint(), 10);
  EXPECT_EQ(read_file(run_checkpoint_path(path(), 9) / "deep" / "model"), "9");
}

TEST_F(RunFolders, OpenRemovesWhatAKilledProcessLeft) {
  RunFolder::create(path(), small_recipe());
  in_a_killed_process([&] {
    RunFolder run = RunFolder::open(path());
    save(run, 1);
    static NewCheckpoint* never_finished = nullptr;
    never_finished = new NewCheckpoint(run.begin_checkpoint(2));
    put(never_finished->path() / "model", "half");
    ::_exit(0);
    return 0;
  });
  fs::create_directories(path() / "checkpoints" / "step-0.removing" / "deep");
  fs::create_directories(path() / "checkpoints" / "notes.writing");
  EXPECT_EQ(run_checkpoints(path()), std::vector<int64_t>{1});
  const RunFolder run = RunFolder::open(path());
  EXPECT_EQ(names(path() / "checkpoints"), (std::vector<std::string>{"notes.writing", "step-1"}));
}

TEST_F(RunFolders, PruneKeepsTheNewestAndTheBest) {
  RunFolder run = RunFolder::create(path(), small_recipe());
  for (const int64_t step : {2, 4, 8, 16, 100}) save(run, step);
  fs::create_directories(path() / "checkpoints" / "step-007");
  EXPECT_EQ(run.prune(2, 4), (std::vector<int64_t>{2, 8}));
  EXPECT_EQ(run_checkpoints(path()), (std::vector<int64_t>{4, 16, 100}));
  EXPECT_EQ(run.prune(1, 100), (std::vector<int64_t>{4, 16}));
  run.remove_checkpoint(100);
  EXPECT_EQ(run.latest_checkpoint(), std::nullopt);
  save(run, 100);
  EXPECT_EQ(run.prune(5, std::nullopt), std::vector<int64_t>{});
  EXPECT_EQ(names(path() / "checkpoints"), (std::vector<std::string>{"step-007", "step-100"}));
}

TEST_F(RunFolders, SamplesAreFilesByStep) {
  RunFolder run = RunFolder::create(path(), small_recipe());
  run.write_sample(20, "old");
  run.write_sample(20, "Once upon");
  EXPECT_EQ(read_file(run_samples_path(path()) / "step-20.txt"), "Once upon");
  EXPECT_EQ(names(run_samples_path(path())).size(), 1u);
}

}  // namespace
}  // namespace fathom
