// What a repository on the hub holds: its commit and its files, by GET api/models/OWNER/NAME/revision/REVISION and
// .../tree/COMMIT. Called by hub/pull.cc. One thread.
#pragma once
#include <string>
#include <vector>

#include "base/work.h"
#include "hub/names.h"
#include "hub/retry.h"

namespace fathom {

struct RemoteFile {
  std::string path;  ///< safe below a folder: path_problem() found none
  uint64_t size = 0;
  std::string sha256;   ///< of large files (LFS); else empty
  std::string git_oid;  ///< of small files: SHA-1 of "blob SIZE\0" and the content; empty where sha256 is there
  const std::string& identity() const { return sha256.empty() ? git_oid : sha256; }
  bool operator==(const RemoteFile&) const = default;
};

struct Repository {
  HubName name;
  std::string revision;  ///< as asked for
  std::string commit;    ///< what it stands for now
  std::vector<RemoteFile> files;
};

/// Asks the hub. `step` is called while waiting, and may throw. Throws Error naming the repository: unknown, gated, a
/// reply that is not as expected (bounds: 64 MiB of JSON, 1,000 pages, 100,000 files), a path that leads out of a
/// folder.
Repository read_repository(HttpClient& client, const HubName& name, const std::string& revision, int retries,
                           const Notice& notice, const WorkProgress& step);

/// Files of one page of the tree. Throws Error naming `what`.
std::vector<RemoteFile> files_of_page(const std::string& text, const std::string& what);

/// Where a file is downloaded from.
std::string file_url(const Endpoint& endpoint, const Repository& repository, const std::string& path);

}  // namespace fathom
