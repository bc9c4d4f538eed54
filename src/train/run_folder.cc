#include "train/run_folder.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <utility>

#include "base/error.h"
#include "base/json.h"
#include "formats/atomic_file.h"

namespace fathom {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kStep = "step-", kWriting = ".writing", kRemoving = ".removing";

[[noreturn]] void failed(const fs::path& path, const char* doing, int error) {
  const std::string message = cat(path.string(), ": ", doing, ": ", std::strerror(error));
  if (error == ENOSPC || error == EDQUOT) throw ResourceError(message);
  throw Error(message);
}

fs::path checkpoints_path(const fs::path& run) { return run / "checkpoints"; }

void make_folder(const fs::path& path) {
  std::error_code error;
  fs::create_directories(path, error);
  if (error) failed(path, "cannot be made", error.value());
}

void sync_path(const fs::path& path, int flags) {
  const int fd = ::open(path.c_str(), flags | O_CLOEXEC | O_NOFOLLOW);
  if (fd < 0) failed(path, "cannot be opened", errno);
  const int error = ::fsync(fd) == 0 ? 0 : errno;
  ::close(fd);
  // File systems that cannot sync a folder keep names by themselves, or not at all.
  if (error && !((flags & O_DIRECTORY) && error == EINVAL)) failed(path, "writing failed", error);
}

void write_whole(const fs::path& path, std::string_view text, bool sync) {
  AtomicFile file(path);
  file.write(text.data(), text.size());
  file.commit(sync);
}

/// N of "step-N".
std::optional<int64_t> step_of(std::string_view name) {
  if (!name.starts_with(kStep)) return std::nullopt;
  name.remove_prefix(kStep.size());
  int64_t step = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), step);
  const bool whole = error == std::errc{} && end == name.data() + name.size() && std::to_string(step) == name;
  return whole && step >= 0 ? std::optional(step) : std::nullopt;
}

bool is_leftover(std::string_view name) {
  for (const std::string_view end : {kWriting, kRemoving})
    if (name.ends_with(end) && step_of(name.substr(0, name.size() - end.size()))) return true;
  return false;
}

/// True for what create() makes before it writes the recipe.
bool belongs_to_a_beginning(const fs::directory_entry& entry) {
  const std::string name = entry.path().filename().string();
  if (name == ".lock") return true;
  if (name == "events" || name == "samples" || name == "checkpoints")
    return entry.is_directory() && fs::is_empty(entry.path());
  return name.starts_with("recipe.toml.") && name.ends_with(kWriting);
}

/// Locks the run folder, or throws Error naming the process that has it.
int lock_run(const fs::path& run) {
  const fs::path file = run / ".lock";
  const int fd = ::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
  if (fd < 0) failed(file, "cannot be opened", errno);
  if (::flock(fd, LOCK_EX | LOCK_NB) != 0) {
    const int error = errno;
    char holder[32] = "";
    const ssize_t n = ::read(fd, holder, sizeof holder - 1);
    ::close(fd);
    if (error != EWOULDBLOCK) failed(file, "cannot be locked", error);
    const std::string who(holder, n > 0 ? static_cast<size_t>(n) : 0);
    throw Error(cat(run.string(), ": expected a run folder that nobody trains in, found it in use by process ",
                    who.find_first_not_of("0123456789") == std::string::npos && !who.empty() ? who : "(unknown)"));
  }
  const std::string pid = std::to_string(::getpid());
  if (::ftruncate(fd, 0) != 0 || ::pwrite(fd, pid.data(), pid.size(), 0) < 0) {
    const int error = errno;
    ::close(fd);
    failed(file, "cannot be written", error);
  }
  return fd;
}

}  // namespace

fs::path run_recipe_path(const fs::path& run) { return run / "recipe.toml"; }
fs::path run_metrics_path(const fs::path& run) { return run / "metrics.jsonl"; }
fs::path run_events_path(const fs::path& run) { return run / "events"; }
fs::path run_samples_path(const fs::path& run) { return run / "samples"; }
fs::path run_answers_path(const fs::path& run) { return run / "answers.jsonl"; }
fs::path run_report_path(const fs::path& run) { return run / "report.html"; }
fs::path run_checkpoint_path(const fs::path& run, int64_t step) { return checkpoints_path(run) / cat(kStep, step); }

std::vector<int64_t> run_checkpoints(const fs::path& run) {
  std::vector<int64_t> steps;
  std::error_code absent;
  for (fs::directory_iterator at(checkpoints_path(run), absent), end; !absent && at != end; at.increment(absent))
    if (const std::optional<int64_t> step = step_of(at->path().filename().string()); step && at->is_directory())
      steps.push_back(*step);
  std::sort(steps.begin(), steps.end());
  return steps;
}

NewCheckpoint::NewCheckpoint(fs::path place) : place_(std::move(place)), aside_(place_) {
  aside_ += kWriting;
  fs::remove_all(aside_);
  make_folder(aside_);
}

NewCheckpoint::NewCheckpoint(NewCheckpoint&& other) noexcept
    : place_(std::move(other.place_)), aside_(std::exchange(other.aside_, {})) {}

NewCheckpoint::~NewCheckpoint() {
  std::error_code ignored;
  if (!aside_.empty()) fs::remove_all(aside_, ignored);
}

void NewCheckpoint::commit() {
  check(!aside_.empty(), "a checkpoint is committed once");
  for (const auto& entry : fs::recursive_directory_iterator(aside_))
    sync_path(entry.path(), entry.is_directory() ? O_RDONLY | O_DIRECTORY : O_RDONLY);
  sync_path(aside_, O_RDONLY | O_DIRECTORY);
  if (::rename(aside_.c_str(), place_.c_str()) != 0) failed(place_, "renaming failed", errno);
  aside_.clear();
  sync_path(place_.parent_path(), O_RDONLY | O_DIRECTORY);
}

RunFolder RunFolder::create(const fs::path& path, const Recipe& recipe) {
  std::error_code error;
  if (fs::exists(path, error) && !fs::is_directory(path, error))
    throw Error(cat(path.string(), ": expected a folder for the run, found a file"));
  const auto require_free = [&] {
    if (fs::exists(run_recipe_path(path)))
      throw Error(cat(path.string(), ": expected an empty folder for the run, found a run (--resume goes on with it)"));
    for (const auto& entry : fs::directory_iterator(path))
      if (!belongs_to_a_beginning(entry))
        throw Error(cat(path.string(), ": expected an empty folder for the run, found ",
                        entry.path().filename().string(), " in it"));
  };
  if (fs::is_directory(path, error)) require_free();  // before a lock file is put into a folder that is not ours
  make_folder(path);
  RunFolder run(path, lock_run(path));
  require_free();  // another process may have begun here meanwhile
  for (const fs::path& folder : {run_events_path(path), run_samples_path(path), checkpoints_path(path)})
    make_folder(folder);
  write_whole(run_recipe_path(path), to_toml(recipe), true);
  return run;
}

RunFolder RunFolder::open(const fs::path& path) {
  if (!fs::is_regular_file(run_recipe_path(path)))
    throw Error(cat(path.string(), ": expected the folder of a run, found no recipe.toml in it"));
  RunFolder run(path, lock_run(path));
  make_folder(checkpoints_path(path));
  for (const auto& entry : fs::directory_iterator(checkpoints_path(path)))
    if (is_leftover(entry.path().filename().string())) fs::remove_all(entry.path());
  return run;
}

RunFolder::RunFolder(RunFolder&& other) noexcept
    : path_(std::move(other.path_)), lock_(std::exchange(other.lock_, -1)) {}

RunFolder::~RunFolder() {
  if (lock_ >= 0) ::close(lock_);
}

std::optional<int64_t> RunFolder::latest_checkpoint() const {
  const std::vector<int64_t> steps = run_checkpoints(path_);
  return steps.empty() ? std::nullopt : std::optional(steps.back());
}

NewCheckpoint RunFolder::begin_checkpoint(int64_t step) {
  const fs::path place = run_checkpoint_path(path_, step);
  check(!fs::exists(place), "a step is saved once");
  return NewCheckpoint(place);
}

void RunFolder::remove_checkpoint(int64_t step) {
  const fs::path place = run_checkpoint_path(path_, step);
  fs::path aside = place;
  aside += kRemoving;
  fs::rename(place, aside);  // so that no half checkpoint ever bears a checkpoint's name
  fs::remove_all(aside);
}

std::vector<int64_t> RunFolder::prune(int64_t keep, std::optional<int64_t> best) {
  check(keep >= 1, "the newest checkpoint is never removed");
  std::vector<int64_t> steps = run_checkpoints(path_);
  steps.resize(steps.size() - std::min(steps.size(), static_cast<size_t>(keep)));
  std::erase_if(steps, [&](int64_t step) { return step == best; });
  for (const int64_t step : steps) remove_checkpoint(step);
  return steps;
}

void RunFolder::write_sample(int64_t step, std::string_view text) {
  make_folder(run_samples_path(path_));
  write_whole(run_samples_path(path_) / cat(kStep, step, ".txt"), text, false);
}

}  // namespace fathom
