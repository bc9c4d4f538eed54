// The models of the models folder that can be loaded, one by one: a repository with three GGUF files is three of them.
// Called by server/app/model_library.cc and cli/folders.cc. One thread at a time changes the folder.
#pragma once
#include <filesystem>
#include <string>
#include <vector>

#include "hub/model_folder.h"

namespace fathom {

struct InstalledModel {
  /// As find_model takes it, and the same whatever else is pulled later as a rule: OWNER/NAME of safetensors,
  /// OWNER/NAME:Q4_K_M of a GGUF file there (short_name()), x.gguf or OWNER/x.gguf of a file that lies alone.
  std::string name;
  std::filesystem::path path;      ///< to load: the folder, or the file's first part
  std::string repository;          ///< OWNER/NAME; empty: a file that lies alone
  std::vector<std::string> files;  ///< of a GGUF file below a repository: its parts, by paths there
};

/// Whole ones, sorted by name. Nothing is read but names and sizes.
std::vector<InstalledModel> loadable_models(const std::filesystem::path& models_folder);

/// Removes it; of a repository with others, only its own files. Returns the bytes that were freed. Throws as
/// remove_model() does.
uint64_t remove_installed(const std::filesystem::path& models_folder, const InstalledModel& model);

/// What is in a folder and not hidden, sorted.
std::vector<std::filesystem::path> shown_children(const std::filesystem::path& folder);
/// True for x-00002-of-00003.gguf, which the first part stands for.
bool is_later_part(const std::filesystem::path& path);

}  // namespace fathom
