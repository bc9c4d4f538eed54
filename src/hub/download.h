// Brings files of one commit into a parts folder: several connections, large files in pieces, each file checked by its
// hash. Called by hub/pull.cc. One thread moves the bytes, one more hashes at a time.
#pragma once
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "hub/repository.h"

namespace fathom {

struct DownloadOptions {
  size_t connections = 4;
  int retries = 5;        ///< in a row, of one request, that bring nothing
  Notice notice;          ///< each retry and each change of plan
  WorkProgress progress;  ///< bytes of all files; may throw, what is there stays for the next time
};

/// SHA-256 of each file by its path, once all bytes of `files` are in `parts` and verified. Throws Error where the hub
/// refuses, or a size or hash is not as the list of files said (that file is removed); ResourceError where the disk is
/// full. However it ends, the states in `parts` are those of the bytes that are there.
std::map<std::string, std::string> download(HttpClient& client, const Repository& repository,
                                            const std::vector<RemoteFile>& files, const std::filesystem::path& parts,
                                            const DownloadOptions& options);

}  // namespace fathom
