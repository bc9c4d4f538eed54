#include "server/app/model_library.h"

#include <algorithm>

#include "engine/load_weights.h"
#include "hub/local_file.h"
#include "server/api/error.h"

namespace fathom {
namespace fs = std::filesystem;
namespace {

ApiError conflict(const std::string& message) {
  return {409, message, "invalid_request_error", std::nullopt, "model_in_use"};
}

bool same_place(const fs::path& a, const fs::path& b) {
  std::error_code error;
  return fs::weakly_canonical(a, error) == fs::weakly_canonical(b, error);
}

}  // namespace

ModelLibrary::ModelLibrary(ModelHost& host, ModelLibraryOptions options, std::function<void()> on_change)
    : host_(host),
      options_(std::move(options)),
      pulls_({.models_folder = options_.models_folder,
              .pull = options_.pull,
              .on_pulled = [this](const PullResult& result) { return added(result); },
              .on_change = std::move(on_change)}) {
  const std::lock_guard lock(changing_);
  refresh();
}

/// Under changing_. What the server was started with keeps its own name.
void ModelLibrary::refresh() {
  const auto known = host_.models();
  for (const InstalledModel& m : loadable_models(options_.models_folder))
    if (std::ranges::none_of(known, [&](const auto& h) { return same_place(h->path, m.path); }))
      host_.add(options_.hosted(m.name, m.path));
}

std::string ModelLibrary::added(const PullResult& result) {
  const std::lock_guard lock(changing_);
  refresh();
  const auto is_of_it = [&](const fs::path& path) {
    if (same_place(path, result.folder)) return true;
    return std::ranges::any_of(result.chosen,
                               [&](const std::string& file) { return same_place(path, result.folder / file); });
  };
  for (const auto& m : host_.models())
    if (m->base.empty() && is_of_it(m->path)) return m->name;
  return "";
}

bool ModelLibrary::is_installed(const HostedModel& model) const {
  const fs::path relative = model.path.lexically_relative(options_.models_folder);
  return !relative.empty() && *relative.begin() != ".." && *relative.begin() != "." && !host_.is_fixed(model.name);
}

std::string ModelLibrary::find(const std::string& repository, const std::string& file) const {
  const std::string name = cat(repository, ":", file);
  for (const auto& m : host_.models()) {
    if (m->name == name || m->name == repository) return m->name;
    const fs::path relative = m->path.lexically_relative(options_.models_folder / repository);
    const std::string path = relative.string();
    if (!path.empty() && !path.starts_with("..") && fits({.name = path, .paths = {path}}, file)) return m->name;
  }
  return "";
}

uint64_t ModelLibrary::disk_free_bytes() const {
  fs::path folder = options_.models_folder;  // which the first pull makes
  std::error_code error;
  while (!fs::exists(folder, error) && folder.has_relative_path()) folder = folder.parent_path();
  return free_bytes(folder);
}

uint64_t ModelLibrary::remove(const std::string& name) {
  const std::lock_guard lock(changing_);
  const std::vector<InstalledModel> installed = loadable_models(options_.models_folder);
  const std::shared_ptr<const HostedModel> hosted = host_.find(name);
  const auto found =
      std::ranges::find_if(installed, [&](const InstalledModel& m) { return hosted && m.path == hosted->path; });
  if (!hosted || found == installed.end())
    throw not_found(cat("model: expected one of the models folder, found '", name.substr(0, 200), "'"),
                    "model_not_found");
  if (host_.is_fixed(name))
    throw conflict(
        cat("model ", name, ": the server was started with it; it is removed without the server, by ", "`fathom rm`"));
  if (!found->repository.empty() && pulls_.runs(found->repository))
    throw conflict(cat("model ", name, ": a pull is working on it; cancel it first"));
  try {
    host_.remove(name);
  } catch (const ModelInUseError& e) {
    throw conflict(e.what());
  }
  std::error_code error;
  const fs::path place = fs::weakly_canonical(found->path, error);
  try {
    uint64_t freed = remove_installed(options_.models_folder, *found);
    return freed + forget_model(place, options_.identity_memory, options_.repack_folder);
  } catch (...) {
    refresh();  // what is still there is still served
    throw;
  }
}

}  // namespace fathom
