// `fathom pull`: from a name on the hub to a model in the models folder. Called by cli/pull.cc. One thread; another
// process that pulls the same model is waited for.
#pragma once
#include <filesystem>
#include <string>
#include <vector>

#include "hub/download.h"
#include "hub/model_folder.h"
#include "hub/token.h"

namespace fathom {

struct PullOptions {
  std::string endpoint = "https://huggingface.co";
  std::string revision = "main";
  Token token;
  std::string ca_file;  ///< certificates to trust, PEM; empty: the system's
  bool all = false;     ///< every file of the repository
  int timeout_s = 60;
  DownloadOptions download;
};

struct PullResult {
  std::filesystem::path folder;
  PullRecord record;
  std::vector<std::string> chosen;  ///< paths that were asked for
  uint64_t chosen_bytes = 0;
  uint64_t received_bytes = 0;  ///< that were not here before
};

/// Throws Error (unknown, gated, broken, hostile), UsageError (which file?), ResourceError (no room), Interrupted. What
/// has come by then stays in the staging folder, and the next pull goes on from there.
PullResult pull(const std::filesystem::path& models_folder, const HubName& name, const PullOptions& options);

}  // namespace fathom
