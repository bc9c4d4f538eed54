// The folder of one training run, and what a reader may rely on in it:
//   recipe.toml      the recipe as run, every value spelled out
//   metrics.jsonl    one line per step (metrics.h)          events/      the same for TensorBoard (tensorboard.h)
//   report.html      written by the report                   samples/     step-N.txt, what the model wrote at step N
//   answers.jsonl    of stage reject: what it kept (reject.h)
//   checkpoints/     step-N/, whole or not there: written aside, synced, renamed
//   .lock            held by the process that trains here
// Called by the trainer (one thread). Readers need no lock.
#pragma once
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "train/recipe.h"

namespace fathom {

/// What stands where in a run folder.
std::filesystem::path run_recipe_path(const std::filesystem::path& run);
std::filesystem::path run_metrics_path(const std::filesystem::path& run);
std::filesystem::path run_events_path(const std::filesystem::path& run);
std::filesystem::path run_samples_path(const std::filesystem::path& run);
std::filesystem::path run_answers_path(const std::filesystem::path& run);
std::filesystem::path run_report_path(const std::filesystem::path& run);
/// checkpoints/step-N.
std::filesystem::path run_checkpoint_path(const std::filesystem::path& run, int64_t step);
/// Steps of the complete checkpoints, ascending.
std::vector<int64_t> run_checkpoints(const std::filesystem::path& run);

/// A checkpoint being written: a folder aside that becomes step-N as a whole by commit(), or disappears.
class NewCheckpoint {
 public:
  ~NewCheckpoint();
  NewCheckpoint(NewCheckpoint&& other) noexcept;
  NewCheckpoint& operator=(NewCheckpoint&&) = delete;
  /// Where its files are to be written.
  const std::filesystem::path& path() const { return aside_; }
  /// Syncs every file and folder below path() to the disk, then renames. Throws ResourceError where the disk is full;
  /// nothing is visible then, and the older checkpoints are as they were.
  void commit();

 private:
  friend class RunFolder;
  explicit NewCheckpoint(std::filesystem::path place);
  std::filesystem::path place_, aside_;  // aside_ is empty once this owns nothing
};

/// A run folder that this process trains in. Two processes never hold one at a time.
class RunFolder {
 public:
  /// Makes the folder and writes its recipe. What a run left that was killed before it had a recipe is taken over.
  /// Throws Error where the folder holds anything else, or another process trains in it.
  static RunFolder create(const std::filesystem::path& path, const Recipe& recipe);
  /// Opens a run to go on with it, and removes what a killed process left half done.
  /// Throws Error where it is no run folder, or another process trains in it.
  static RunFolder open(const std::filesystem::path& path);

  ~RunFolder();
  RunFolder(RunFolder&& other) noexcept;
  RunFolder& operator=(RunFolder&&) = delete;

  const std::filesystem::path& path() const { return path_; }
  /// The newest complete checkpoint; nullopt: the run has none yet.
  std::optional<int64_t> latest_checkpoint() const;
  /// Begins the checkpoint of a step that has none.
  NewCheckpoint begin_checkpoint(int64_t step);
  /// Removes one, as when it turned out to be damaged and the run goes on from an older one.
  void remove_checkpoint(int64_t step);
  /// Removes all checkpoints but the newest `keep` (at least 1) and `best`. Returns the removed steps. A process killed
  /// meanwhile leaves no half checkpoint behind.
  std::vector<int64_t> prune(int64_t keep, std::optional<int64_t> best);
  /// Writes samples/step-N.txt; an older one is replaced.
  void write_sample(int64_t step, std::string_view text);

 private:
  RunFolder(std::filesystem::path path, int lock) : path_(std::move(path)), lock_(lock) {}
  std::filesystem::path path_;
  int lock_;  // the open lock file; the lock goes with the process
};

}  // namespace fathom
