#include "hub/installed.h"

#include <algorithm>

#include "base/error.h"
#include "hub/choose.h"

namespace fathom {
namespace fs = std::filesystem;
namespace {

/// GGUF files of a repository's folder, and of the folders in it.
std::vector<GgufGroup> groups_of(const fs::path& folder) {
  std::vector<RemoteFile> files;
  std::error_code error;
  const auto add = [&](const fs::path& path) {
    if (path.extension() == ".gguf" && fs::is_regular_file(path, error))
      files.push_back({path.lexically_relative(folder).string(), fs::file_size(path, error), "", ""});
  };
  for (const fs::path& path : shown_children(folder)) {
    add(path);
    if (fs::is_directory(path, error))
      for (const fs::path& below : shown_children(path)) add(below);
  }
  std::vector<GgufGroup> groups = gguf_groups(files);
  std::erase_if(groups, [](const GgufGroup& g) { return is_accessory(g) || g.paths.size() != g.expected_parts; });
  return groups;
}

bool has_safetensors(const fs::path& folder) {
  const std::vector<fs::path> files = shown_children(folder);
  return std::ranges::any_of(files, [](const fs::path& path) { return path.extension() == ".safetensors"; });
}

void add_folder(std::vector<InstalledModel>& out, const std::string& repository, const fs::path& folder) {
  if (is_half_installed(folder)) return;
  if (has_safetensors(folder)) out.push_back({repository, folder, repository, {}});
  const std::vector<GgufGroup> groups = groups_of(folder);
  for (const GgufGroup& g : groups)
    out.push_back({cat(repository, ":", short_name(g, groups)), folder / g.name, repository, g.paths});
}

}  // namespace

std::vector<fs::path> shown_children(const fs::path& folder) {
  std::vector<fs::path> found;
  std::error_code error;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error))
    if (!it->path().filename().string().starts_with('.')) found.push_back(it->path());
  std::sort(found.begin(), found.end());
  return found;
}

bool is_later_part(const fs::path& path) {
  const std::string name = path.filename().string();
  return name.find("-of-") != std::string::npos && name.find("-00001-of-") == std::string::npos;
}

std::vector<InstalledModel> loadable_models(const fs::path& models_folder) {
  std::vector<InstalledModel> out;
  std::error_code error;
  const auto add_alone = [&](const fs::path& path) {
    if (path.extension() == ".gguf" && !is_later_part(path) && fs::is_regular_file(path, error))
      out.push_back({path.lexically_relative(models_folder).string(), path, "", {}});
  };
  for (const fs::path& owner : shown_children(models_folder)) {
    add_alone(owner);
    if (!fs::is_directory(owner, error)) continue;
    for (const fs::path& path : shown_children(owner)) {
      add_alone(path);
      if (fs::is_directory(path, error))
        add_folder(out, cat(owner.filename().string(), "/", path.filename().string()), path);
    }
  }
  std::ranges::sort(out, {}, &InstalledModel::name);
  return out;
}

uint64_t remove_installed(const fs::path& models_folder, const InstalledModel& model) {
  if (model.repository.empty()) return remove_model(models_folder, model.name);
  const std::vector<InstalledModel> all = loadable_models(models_folder);
  const auto beside = [&](const InstalledModel& m) { return m.repository == model.repository && m.path != model.path; };
  if (model.files.empty() || std::ranges::none_of(all, beside)) return remove_model(models_folder, model.repository);
  const ModelPlace place(models_folder, parse_hub_name(model.repository));
  refuse_links(models_folder, model.repository);
  const std::optional<FolderLock> lock = place.try_lock();
  if (!lock) throw Error(cat("model ", model.repository, ": a pull is working on it; stop it first"));
  uint64_t freed = 0;
  for (const std::string& file : model.files) {
    refuse_links(models_folder, fs::path(model.repository) / fs::path(file).parent_path());
    std::error_code error;
    const uint64_t size = fs::file_size(place.folder / file, error);
    if (!fs::remove(place.folder / file, error) || error)
      throw Error(cat((place.folder / file).string(), ": cannot be removed: ", error.message()));
    freed += size;
    fs::remove((place.folder / file).parent_path(), error);  // where it is empty now
  }
  // The record follows the files: what it names and is not there, the next pull brings again.
  if (std::optional<PullRecord> record = PullRecord::read(place.record())) {
    std::erase_if(record->files, [&](const PulledFile& f) { return std::ranges::count(model.files, f.path) != 0; });
    write_text_file(place.record(), record->to_text(), /*durable=*/true);
  }
  place.tidy();
  return freed;
}

}  // namespace fathom
