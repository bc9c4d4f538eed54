#include "hub/model_folder.h"

#include <sys/stat.h>

#include <cerrno>
#include <set>

#include "base/error.h"
#include "hub/part_file.h"

namespace fathom {
namespace fs = std::filesystem;
namespace {

constexpr const char* kJournal = "pull.json.new";

/// Moves what the journal names from parts/ and makes the journal the record. Whatever was moved before stays, so that
/// this can be run any number of times. False: files that the journal names are nowhere.
bool run_journal(const fs::path& folder, const fs::path& parts) {
  const fs::path journal = folder / ".fathom" / kJournal;
  const std::optional<PullRecord> record = PullRecord::read(journal);
  if (!record) return true;
  std::error_code error;
  for (const PulledFile& file : record->files) {
    const fs::path part = part_path(parts, file.path), target = folder / file.path;
    if (!fs::exists(part, error)) continue;
    const RemoteFile remote{file.path, file.size, file.git_oid.empty() ? file.sha256 : "", file.git_oid};
    if (PartFile(parts, remote).verified() != file.sha256) continue;  // of another pull, still on its way
    make_folders(folder, fs::path(file.path).parent_path());
    if (::rename(part.c_str(), target.c_str()) != 0) throw_file_error(target, "a pulled file cannot be put in place");
  }
  for (const PulledFile& file : record->files) {
    const fs::path target = folder / file.path;
    if (!fs::is_regular_file(fs::symlink_status(target, error)) || fs::file_size(target, error) != file.size)
      return false;
  }
  if (::rename(journal.c_str(), (folder / ".fathom" / "pull.json").c_str()) != 0)
    throw_file_error(journal, "renaming failed");
  for (const PulledFile& file : record->files)
    if (!fs::exists(part_path(parts, file.path), error)) fs::remove(part_path(parts, file.path) += ".json", error);
  return true;
}

/// Removes folders below and including `folder` that hold nothing.
void remove_empty(const fs::path& folder) {
  std::error_code error;
  std::vector<fs::path> below;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error))
    if (it->is_directory(error) && !it->is_symlink(error)) below.push_back(it->path());
  for (const fs::path& child : below) remove_empty(child);
  fs::remove(folder, error);  // fails where it is not empty
}

}  // namespace

fs::path staging_of(const fs::path& model_folder) {
  return model_folder.parent_path() / ("." + model_folder.filename().string() + ".pulling");
}

ModelPlace::ModelPlace(fs::path models_folder, const HubName& name)
    : models(std::move(models_folder)),
      owner(models / name.owner),
      folder(owner / name.name),
      staging(staging_of(folder)),
      parts(staging / "parts"),
      relative(name.repository()) {}

std::optional<FolderLock> ModelPlace::try_lock() const {
  make_folders(models, staging.lexically_relative(models));
  FolderLock lock;
  if (!lock.try_lock(staging)) return std::nullopt;
  return lock;
}

void ModelPlace::install(const PullRecord& record) const {
  std::error_code error;
  // A new model is put together aside and appears by one rename; files join an existing one under its journal.
  refuse_links(models, relative);
  const bool is_new = !fs::exists(folder, error);
  const fs::path target = is_new ? staging / "files" : folder;
  make_folders(target, ".fathom");
  write_text_file(target / ".fathom" / kJournal, record.to_text(), /*durable=*/true);
  if (!recover()) throw Error(cat(relative, ": a file that was pulled has vanished; pull it again"));
}

bool ModelPlace::recover() const {
  std::error_code error;
  const fs::path aside = staging / "files";
  if (!run_journal(aside, parts) || !fs::exists(aside / ".fathom" / "pull.json", error)) {
    fs::remove_all(aside, error);  // never a model: its files come again
  } else if (::rename(aside.c_str(), folder.c_str()) != 0) {
    throw_file_error(folder, "the pulled model cannot be put in place");
  }
  return run_journal(folder, parts) && fs::exists(record(), error);
}

void ModelPlace::tidy() const {
  std::error_code error;
  remove_empty(parts);
  if (!fs::exists(parts, error)) fs::remove(plan(), error);
  remove_empty(staging);
  fs::remove(owner, error);
}

bool is_half_installed(const fs::path& model_folder) {
  std::error_code error;
  return fs::exists(model_folder / ".fathom" / kJournal, error);
}

}  // namespace fathom
