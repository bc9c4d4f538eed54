#include <sys/stat.h>

#include <algorithm>

#include "base/error.h"
#include "hub/model_folder.h"
#include "hub/part_file.h"

namespace fathom {
namespace fs = std::filesystem;
namespace {

std::vector<fs::path> children(const fs::path& folder) {
  std::vector<fs::path> found;
  std::error_code error;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error))
    found.push_back(it->path());
  std::sort(found.begin(), found.end());
  return found;
}

bool is_hidden(const fs::path& path) { return path.filename().string().starts_with('.'); }

/// Size and time of one file, and what kind of model it speaks for.
void add_file(LocalModel& model, const fs::path& path) {
  struct stat stat {};
  if (::stat(path.c_str(), &stat) != 0 || !S_ISREG(stat.st_mode)) return;
  model.size += static_cast<uint64_t>(stat.st_size);
  model.modified_s = std::max<int64_t>(model.modified_s, stat.st_mtime);
  if (path.extension() == ".safetensors") model.type = "safetensors";
  if (path.extension() == ".gguf" && model.type == "files") model.type = "GGUF";
}

void add_folder(LocalModel& model, const fs::path& folder) {
  std::error_code error;
  for (fs::recursive_directory_iterator it(folder, error), end; !error && it != end; it.increment(error))
    if (!it->is_directory(error)) add_file(model, it->path());
}

LocalModel model_of(std::string name, const fs::path& path) {
  LocalModel model;
  model.name = std::move(name), model.path = path, model.type = "files";
  std::error_code error;
  fs::is_directory(path, error) ? add_folder(model, path) : add_file(model, path);
  model.total = model.size;
  model.complete = !is_half_installed(path);
  try {
    if (const auto record = PullRecord::read(path / ".fathom" / "pull.json"))
      model.revision = record->revision, model.commit = record->commit;
  } catch (const Error&) {
    model.complete = false;  // what was pulled is not known any more
  }
  return model;
}

/// What a pull left in a staging folder.
LocalModel partial_of(std::string name, const fs::path& staging) {
  LocalModel model = model_of(std::move(name), staging);
  model.complete = false;
  model.size = part_bytes(staging / "parts");
  model.total = 0;
  FolderLock lock;
  std::error_code error;
  model.running = !lock.try_lock(staging) && fs::exists(staging, error);
  try {
    const auto plan = PullRecord::read(staging / "plan.json");
    if (!plan) return model;
    model.revision = plan->revision, model.commit = plan->commit;
    for (const PulledFile& file : plan->files) {
      model.total += file.size;
      if (file.path.ends_with(".safetensors")) model.type = "safetensors";
      if (file.path.ends_with(".gguf") && model.type == "files") model.type = "GGUF";
    }
  } catch (const Error&) {
    model.total = 0;
  }
  return model;
}

/// "NAME" of ".NAME.pulling", else empty.
std::string pulled_name(const fs::path& path) {
  constexpr std::string_view kEnd = ".pulling";
  const std::string name = path.filename().string();
  if (!name.starts_with('.') || !name.ends_with(kEnd) || name.size() <= kEnd.size() + 1) return "";
  return name.substr(1, name.size() - kEnd.size() - 1);
}

uint64_t freed_by_removing(const fs::path& path) {
  std::error_code error;
  const fs::file_status status = fs::symlink_status(path, error);
  if (!fs::exists(status)) return 0;
  const bool is_link = fs::is_symlink(status);
  const uint64_t size = is_link ? 0 : model_of("", path).size;
  is_link ? fs::remove(path, error) : fs::remove_all(path, error) > 0;
  if (error) throw Error(cat(path.string(), ": cannot be removed: ", error.message()));
  return size;
}

}  // namespace

std::vector<LocalModel> local_models(const fs::path& models_folder) {
  std::vector<LocalModel> found;
  std::error_code error;
  for (const fs::path& owner : children(models_folder)) {
    if (is_hidden(owner)) continue;
    const std::string owner_name = owner.filename().string();
    if (!fs::is_directory(owner, error)) {
      if (owner.extension() == ".gguf") found.push_back(model_of(owner_name, owner));
      continue;
    }
    const std::string prefix = owner_name + "/";
    for (const fs::path& path : children(owner)) {
      if (const std::string name = pulled_name(path); !name.empty())
        found.push_back(partial_of(prefix + name, path));
      else if (!is_hidden(path) && (fs::is_directory(path, error) || path.extension() == ".gguf"))
        found.push_back(model_of(prefix + path.filename().string(), path));
    }
  }
  std::stable_sort(found.begin(), found.end(),
                   [](const LocalModel& a, const LocalModel& b) { return a.name < b.name; });
  return found;
}

uint64_t remove_model(const fs::path& models_folder, const std::string& name) {
  const std::string problem = path_problem(name);
  const auto slashes = std::count(name.begin(), name.end(), '/');
  if (!problem.empty() || slashes > 1 || name[0] == '.' || name.find("/.") != std::string::npos)
    throw UsageError(cat("MODEL: expected OWNER/NAME or a file of the models folder, found '", name, "'"));
  const fs::path path = models_folder / name, owner = path.parent_path();
  refuse_links(models_folder, fs::path(name).parent_path());
  std::error_code error;
  const fs::path staging = staging_of(path);
  const bool is_there = fs::exists(fs::symlink_status(path, error)),
             has_staging = slashes && fs::exists(staging, error);
  if (!is_there && !has_staging)
    throw Error(cat("model ", name, ": expected one in ", models_folder.string(), " (fathom list), found none"));
  if (slashes == 0 && path.extension() != ".gguf")
    throw UsageError(cat("MODEL: expected OWNER/NAME or a GGUF file, found '", name, "'"));
  FolderLock lock;
  if (has_staging && !lock.try_lock(staging))
    throw Error(cat("model ", name, ": a pull is working on it; stop it first"));
  // The model goes first: a removal that is broken off leaves a partial, never half a model that looks whole.
  const fs::path aside = owner / ("." + path.filename().string() + ".removing");
  uint64_t freed = slashes ? freed_by_removing(aside) : 0;  // of a removal that was broken off
  if (is_there && slashes && ::rename(path.c_str(), aside.c_str()) != 0) throw_file_error(path, "cannot be removed");
  freed += freed_by_removing(is_there && slashes ? aside : path);
  if (has_staging) freed += freed_by_removing(staging);
  if (slashes) fs::remove(owner, error);  // where it is empty now
  return freed;
}

}  // namespace fathom
