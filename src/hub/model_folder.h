// The models on this disk and how a pull becomes one of them. While files come, everything lies in
// models/OWNER/.NAME.pulling/: plan.json (what is being pulled), parts/ (bytes and states). When all files of a pull
// are verified they move, by a journal that the next pull finishes if this one is killed, into models/OWNER/NAME/ with
// the record .fathom/pull.json. Called by hub/pull.cc, cli/list.cc, cli/rm.cc, cli/folders.cc. One thread.
#pragma once
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "hub/local_file.h"
#include "hub/names.h"

namespace fathom {

struct PulledFile {
  std::string path;
  uint64_t size = 0;
  std::string sha256;   ///< empty in a plan where the hub names the file by git_oid
  std::string git_oid;  ///< of small files, else empty
  std::string commit;   ///< that it was pulled from
};

/// What .fathom/pull.json says.
struct PullRecord {
  std::string endpoint, repository, revision, commit;
  std::vector<PulledFile> files;
  const PulledFile* find(const std::string& path) const;
  std::string to_text() const;
  /// nullopt: there is none. Throws Error naming the file where it is broken.
  static std::optional<PullRecord> read(const std::filesystem::path& file);
};

/// The places of one model.
struct ModelPlace {
  ModelPlace(std::filesystem::path models_folder, const HubName& name);
  std::filesystem::path models, owner, folder, staging, parts;
  std::string relative;  ///< OWNER/NAME

  std::filesystem::path record() const { return folder / ".fathom" / "pull.json"; }
  std::filesystem::path plan() const { return staging / "plan.json"; }

  /// Makes the staging folder and locks it. nullopt: another pull has it.
  std::optional<FolderLock> try_lock() const;
  /// Moves the files of `record`, all verified in parts/, to the model's folder and leaves the record there; removes
  /// the staging folder where nothing else is in it. The lock is held. Files that are in place already stay.
  void install(const PullRecord& record) const;
  /// Finishes an install() that was killed. The lock is held. False: there is no whole model, or files are missing.
  bool recover() const;
  /// Removes what is empty of the staging folder, the owner's folder too.
  void tidy() const;
};

/// True for a model's folder into which files were being moved when a pull was killed: parts of two revisions may be in
/// it. The next pull puts it right.
bool is_half_installed(const std::filesystem::path& model_folder);
/// models/OWNER/.NAME.pulling of models/OWNER/NAME.
std::filesystem::path staging_of(const std::filesystem::path& model_folder);

struct LocalModel {
  std::string name;  ///< as find_model takes it: OWNER/NAME, x.gguf, OWNER/x.gguf
  std::filesystem::path path;
  std::string type;                       ///< "safetensors", "GGUF", or "files"
  uint64_t size = 0, total = 0;           ///< bytes here, and of the whole (0: not known)
  bool complete = true, running = false;  ///< running: a pull works on it now
  int64_t modified_s = 0;                 ///< seconds since 1970
  std::string revision, commit;           ///< of pulled ones
};
/// Everything in the models folder, complete or not, sorted by name.
std::vector<LocalModel> local_models(const std::filesystem::path& models_folder);

/// Removes a model by its name there: its folder (or the file, or the link in its place) and what a pull left.
/// Returns the bytes that were freed. Throws UsageError for a name that leads elsewhere, Error where nothing is there
/// or a pull is working on it.
uint64_t remove_model(const std::filesystem::path& models_folder, const std::string& name);

}  // namespace fathom
