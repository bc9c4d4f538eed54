#include "cli/folders.h"

#include <pwd.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>

#include "base/error.h"

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

std::vector<fs::path> children(const fs::path& folder) {
  std::vector<fs::path> found;
  std::error_code error;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error))
    found.push_back(it->path());
  std::sort(found.begin(), found.end());
  return found;
}

bool is_later_part(const fs::path& path) {
  const std::string name = path.filename().string();
  return name.find("-of-") != std::string::npos && name.find("-00001-of-") == std::string::npos;
}

std::vector<fs::path> gguf_files(const fs::path& folder) {
  std::vector<fs::path> found = children(folder);
  std::erase_if(found, [](const fs::path& path) { return path.extension() != ".gguf" || is_later_part(path); });
  return found;
}

bool is_model_folder(const fs::path& folder) {
  return fs::exists(folder / "config.json") || fs::exists(folder / "tokenizer.json");
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

std::vector<std::string> installed_models() {
  std::vector<std::string> names;
  for (const fs::path& file : gguf_files(models_folder())) names.push_back(file.filename().string());
  for (const fs::path& owner : children(models_folder()))
    for (const fs::path& model : children(owner))
      if (is_model_folder(model) || !gguf_files(model).empty() ||
          (model.extension() == ".gguf" && !is_later_part(model)))
        names.push_back(owner.filename().string() + "/" + model.filename().string());
  std::sort(names.begin(), names.end());
  return names;
}

fs::path find_model(const std::string& model) {
  std::error_code error;
  if (model.empty()) throw UsageError("MODEL: expected a path or OWNER/NAME, found an empty string");
  fs::path path = model;
  const fs::path relative = path.lexically_normal();
  // A name must not lead out of the models folder.
  const bool is_name = relative.is_relative() && *relative.begin() != ".." && *relative.begin() != ".";
  if (!fs::exists(path, error) && is_name) path = models_folder() / relative;
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
  for (const fs::path& file : files) names += (names.empty() ? "" : ", ") + file.filename().string();
  throw Error(cat("model ", path.string(), ": expected one GGUF file in this folder, found ", files.size(),
                  " (name one of them): ", names));
}

}  // namespace fathom
