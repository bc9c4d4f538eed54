#include "cli/folders.h"

#include <pwd.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <optional>

#include "base/error.h"
#include "hub/choose.h"
#include "hub/installed.h"
#include "hub/model_folder.h"

namespace fathom {
namespace fs = std::filesystem;
namespace {

constexpr size_t kMostListed = 20;

fs::path from_environment(const char* name) {
  const char* value = std::getenv(name);
  return value ? fs::path(value) : fs::path();
}

/// $HOME, else the account's own.
fs::path home_folder() {
  if (const fs::path home = from_environment("HOME"); home.is_absolute()) return home;
  const passwd* account = ::getpwuid(::getuid());
  return account && account->pw_dir ? fs::path(account->pw_dir) : fs::path("/");
}

fs::path folder(const char* below_fathom_home, const char* xdg_variable, const char* below_home) {
  if (const fs::path home = from_environment("FATHOM_HOME"); !home.empty()) return home / below_fathom_home;
  // A relative path is to be ignored, says the XDG Base Directory Specification.
  if (const fs::path xdg = from_environment(xdg_variable); xdg.is_absolute()) return xdg / "fathom";
  return home_folder() / below_home / "fathom";
}

/// In the folder itself; where there are none, in the folders in it, as many repositories keep one for each
/// quantisation.
std::vector<fs::path> gguf_files(const fs::path& folder) {
  const auto is_other = [](const fs::path& path) { return path.extension() != ".gguf" || is_later_part(path); };
  std::vector<fs::path> found = shown_children(folder);
  std::erase_if(found, is_other);
  std::error_code error;
  if (!found.empty() || !fs::is_directory(folder, error)) return found;
  for (const fs::path& below : shown_children(folder))
    if (fs::is_directory(below, error))
      for (const fs::path& file : shown_children(below)) found.push_back(file);
  std::erase_if(found, is_other);
  return found;
}

bool is_model_folder(const fs::path& folder) {
  return fs::exists(folder / "config.json") || fs::exists(folder / "tokenizer.json");
}

/// The file that OWNER/NAME:FILE names, as `fathom pull` takes it; nullopt where `model` has another form.
std::optional<fs::path> selected_file(const std::string& model) {
  const size_t colon = model.find(':');
  if (colon == std::string::npos || model.find('/') >= colon) return std::nullopt;
  const HubName name = parse_hub_name(model);
  const fs::path folder = models_folder() / name.owner / name.name;
  std::vector<fs::path> found;
  std::string names;
  for (const fs::path& file : gguf_files(folder)) {
    const std::string path = file.lexically_relative(folder).string();
    if (!fits({.name = path, .paths = {path}}, name.file)) continue;
    names += (found.empty() ? "" : ", ") + path;
    found.push_back(file);
  }
  std::error_code error;
  if (found.empty() && fs::is_regular_file(folder / name.file, error)) return folder / name.file;
  if (found.size() == 1) return found[0];
  throw Error(cat("model ", model, ": expected one GGUF file that fits '", name.file, "' in ", folder.string(),
                  ", found ", found.empty() ? "none" : names));
}

/// Throws Error where the name stands for a pull that is not finished.
void refuse_unfinished(const std::string& model, const fs::path& path) {
  std::error_code error;
  const std::string advice = cat("; `fathom pull ", model, "` goes on with it");
  if (!fs::exists(path, error) && fs::exists(staging_of(path), error))
    throw Error(cat("model ", model, ": expected a complete one, found an unfinished pull", advice));
  if (is_half_installed(path))
    throw Error(cat("model ", model, ": expected a complete one, found one whose update was broken off", advice));
}

std::string what_is_there() {
  const std::vector<std::string> models = installed_models();
  if (models.empty()) return cat("no model is in ", models_folder().string());
  std::string text = cat("in ", models_folder().string(), " there is");
  for (size_t i = 0; i < models.size() && i < kMostListed; ++i) text += (i ? ", " : " ") + models[i];
  if (models.size() > kMostListed) text += cat(" and ", models.size() - kMostListed, " more");
  return text;
}

}  // namespace

fs::path models_folder() {
  return from_environment("FATHOM_HOME").empty() ? folder("", "XDG_DATA_HOME", ".local/share") / "models"
                                                 : from_environment("FATHOM_HOME") / "models";
}
fs::path config_folder() { return folder("", "XDG_CONFIG_HOME", ".config"); }
fs::path state_folder() { return folder("state", "XDG_STATE_HOME", ".local/state"); }
fs::path token_cache_folder() { return folder("cache", "XDG_CACHE_HOME", ".cache") / "tokens"; }
fs::path repack_folder() { return folder("cache", "XDG_CACHE_HOME", ".cache") / "repack"; }

std::vector<std::string> installed_models() {
  std::vector<std::string> names;
  for (const fs::path& file : gguf_files(models_folder())) names.push_back(file.filename().string());
  for (const fs::path& owner : shown_children(models_folder()))
    for (const fs::path& model : shown_children(owner))
      if (!is_half_installed(model) && (is_model_folder(model) || !gguf_files(model).empty() ||
                                        (model.extension() == ".gguf" && !is_later_part(model))))
        names.push_back(owner.filename().string() + "/" + model.filename().string());
  std::sort(names.begin(), names.end());
  return names;
}

fs::path find_model(const std::string& model) {
  std::error_code error;
  if (model.empty()) throw UsageError("MODEL: expected a path or OWNER/NAME, found an empty string");
  fs::path path = model;
  const fs::path relative = path.lexically_normal();
  // A name must not lead out of the models folder, nor to what a pull keeps hidden there.
  const auto is_hidden = [](const fs::path& part) { return part.string().starts_with('.'); };
  const bool is_name = relative.is_relative() && std::none_of(relative.begin(), relative.end(), is_hidden);
  if (!fs::exists(path, error) && is_name) {
    if (const std::optional<fs::path> file = selected_file(model)) return *file;
    path = models_folder() / relative;
    refuse_unfinished(model, path);
  }
  if (!fs::exists(path, error))
    throw Error(cat("model ", model,
                    ": expected a GGUF file, a model folder, or OWNER/NAME of an installed model, found neither; ",
                    what_is_there()));
  if (!fs::is_directory(path, error) || is_model_folder(path)) return path;
  const std::vector<fs::path> files = gguf_files(path);
  if (files.size() == 1) return files[0];
  if (files.empty())
    throw Error(cat("model ", path.string(),
                    ": expected config.json, tokenizer.json or a GGUF file in this folder, found none"));
  std::string names;
  for (const fs::path& file : files) names += (names.empty() ? "" : ", ") + file.lexically_relative(path).string();
  throw Error(cat("model ", path.string(), ": expected one GGUF file in this folder, found ", files.size(),
                  " (name one of them): ", names));
}

}  // namespace fathom
