#include "hub/pull.h"

#include <algorithm>
#include <set>
#include <thread>

#include "base/error.h"
#include "hub/choose.h"
#include "hub/local_file.h"
#include "hub/part_file.h"
#include "hub/sha.h"

namespace fathom {
namespace fs = std::filesystem;
namespace {

constexpr std::chrono::milliseconds kPoll{100};
constexpr uint64_t kSpareBytes = uint64_t{16} << 20;  // for states, records and what others write meanwhile
constexpr size_t kMostListed = 5;

/// Leaves no empty folders behind, however the pull ends.
struct TidyAtEnd {
  const ModelPlace& place;
  ~TidyAtEnd() { place.tidy(); }
};

HttpOptions http_options(const PullOptions& options) {
  HttpOptions http{Endpoint::parse(options.endpoint), options.token.value, options.ca_file, options.timeout_s};
  const Notice& notice = options.download.notice;
  const bool exposed = !http.endpoint.secure && !http.endpoint.loopback;
  if (exposed) notice(cat(http.endpoint.url, ": not encrypted: others can read and change what is transferred"));
  if (exposed && !http.token.empty()) {
    notice(cat("the token of ", options.token.source, " is not sent over http"));
    http.token.clear();
  } else if (!http.token.empty() && http.endpoint.origin != Endpoint::parse(PullOptions().endpoint).origin) {
    notice(cat("the token of ", options.token.source, " is sent to ", http.endpoint.url));
  }
  return http;
}

/// Waits while another pull of the same model works.
FolderLock lock(const ModelPlace& place, const PullOptions& options) {
  for (bool told = false;; told = true) {
    for (int i = 0; i < 3; ++i)  // the other may just be removing the folder
      if (std::optional<FolderLock> lock = place.try_lock()) return std::move(*lock);
    if (!told) options.download.notice(cat(place.relative, ": another pull is working on it; waiting until it ends"));
    if (options.download.progress) options.download.progress(0, 0);
    std::this_thread::sleep_for(kPoll);
  }
}

/// Its record entry where the file is in place already: pulled before, or put there by somebody and equal.
std::optional<PulledFile> in_place(const ModelPlace& place, const std::optional<PullRecord>& record,
                                   const RemoteFile& file) {
  const fs::path path = place.folder / file.path;
  refuse_links(place.models, fs::path(place.relative) / file.path);
  std::error_code error;
  if (!fs::exists(path, error)) return std::nullopt;
  const bool has_size = fs::is_regular_file(path, error) && fs::file_size(path, error) == file.size;
  if (const PulledFile* known = record ? record->find(file.path) : nullptr) {
    const bool same = file.sha256.empty() ? known->git_oid == file.git_oid : known->sha256 == file.sha256;
    return has_size && same ? std::optional(*known) : std::nullopt;
  }
  const FileHashes hashes = has_size ? hash_file(path, file.sha256.empty(), std::atomic<bool>{false}) : FileHashes();
  if ((file.sha256.empty() ? hashes.git_oid : hashes.sha256) != file.identity())
    throw Error(cat(path.string(), ": expected no file, or the one of the hub (", file.size, " bytes, ",
                    file.identity(), "), found another that no pull has put there; move it away first"));
  return PulledFile{file.path, file.size, hashes.sha256, file.git_oid, ""};
}

PullRecord record_of(const Repository& repository, const HttpClient& client) {
  return {client.endpoint().url, repository.name.repository(), repository.revision, repository.commit, {}};
}

/// The plan: what comes now, and what is left of plans before.
void write_plan(const ModelPlace& place, PullRecord plan, const std::vector<RemoteFile>& missing) {
  std::optional<PullRecord> old;
  try {
    old = PullRecord::read(place.plan());
  } catch (const Error&) {  // a broken plan is only not shown
  }
  for (const RemoteFile& file : missing)
    plan.files.push_back({file.path, file.size, file.sha256, file.git_oid, plan.commit});
  std::error_code error;
  if (old)
    for (const PulledFile& file : old->files)
      if (!plan.find(file.path) && fs::exists(part_path(place.parts, file.path), error)) plan.files.push_back(file);
  if (plan.files.empty())
    fs::remove(place.plan(), error);
  else
    write_text_file(place.plan(), plan.to_text(), /*durable=*/true);
}

void check_room(const ModelPlace& place, const std::vector<RemoteFile>& missing) {
  uint64_t needed = 0;
  for (const RemoteFile& file : missing) needed += file.size - PartFile(place.parts, file).done_bytes();
  const uint64_t free = free_bytes(place.staging);
  if (needed > free || free - needed < std::min(needed, kSpareBytes))
    throw ResourceError(cat(place.relative, ": needs ", size_text(needed), " (", needed, " bytes) more, and ",
                            size_text(free), " (", free, " bytes) are free in ", place.models.string()));
}

/// Files of earlier pulls stay on record; those that the repository has no more are named.
void keep_others(const ModelPlace& place, const std::optional<PullRecord>& old, const Repository& repository,
                 PullRecord& record, const Notice& notice) {
  if (!old) return;
  std::set<std::string> there;
  for (const RemoteFile& file : repository.files) there.insert(file.path);
  std::string gone;
  size_t count = 0;
  std::error_code error;
  for (const PulledFile& file : old->files) {
    const fs::path path = place.folder / file.path;
    if (record.find(file.path) || !fs::is_regular_file(path, error) || fs::file_size(path, error) != file.size)
      continue;
    record.files.push_back(file);
    if (!there.contains(file.path) && ++count <= kMostListed) gone += (gone.empty() ? "" : ", ") + file.path;
  }
  if (count)
    notice(cat(place.relative, ": of an earlier commit, and not in ", record.commit.substr(0, 12), ": ", gone,
               count > kMostListed ? cat(" and ", count - kMostListed, " more") : ""));
}

}  // namespace

PullResult pull(const fs::path& models_folder, const HubName& name, const PullOptions& options) {
  check_revision(options.revision);
  HttpClient client(http_options(options));
  const Notice& notice = options.download.notice;
  const Repository repository =
      read_repository(client, name, options.revision, options.download.retries, notice, options.download.progress);
  const Choice choice = choose_files(repository, name.file, options.all);
  for (const std::string& note : choice.notes) notice(note);

  const ModelPlace place(models_folder, name);
  refuse_links(place.models, place.relative);
  const FolderLock held = lock(place, options);
  const TidyAtEnd tidy{place};
  place.recover();

  PullResult result{place.folder, record_of(repository, client), {}, 0, 0};
  const std::optional<PullRecord> old = PullRecord::read(place.record());
  std::vector<RemoteFile> missing;
  for (const RemoteFile& file : choice.files) {
    result.chosen.push_back(file.path);
    result.chosen_bytes += file.size;
    if (std::optional<PulledFile> known = in_place(place, old, file)) {
      known->commit = repository.commit;
      result.record.files.push_back(std::move(*known));
    } else {
      missing.push_back(file);
    }
  }
  keep_others(place, old, repository, result.record, notice);
  check_room(place, missing);
  write_plan(place, record_of(repository, client), missing);
  for (const RemoteFile& file : missing) result.received_bytes += file.size - PartFile(place.parts, file).done_bytes();
  const std::map<std::string, std::string> hashes =
      download(client, repository, missing, place.parts, options.download);
  for (const RemoteFile& file : missing)
    result.record.files.push_back({file.path, file.size, hashes.at(file.path), file.git_oid, repository.commit});
  std::sort(result.record.files.begin(), result.record.files.end(),
            [](const PulledFile& a, const PulledFile& b) { return a.path < b.path; });
  place.install(result.record);
  write_plan(place, record_of(repository, client), {});
  return result;
}

}  // namespace fathom
