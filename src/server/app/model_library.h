// The models folder as the app's page changes it: what is installed is served, more is pulled, what is not wanted any
// more is removed. Only where the machine's owner lets the page do so (`--pulls`); docs/app-api.md. Thread-safe.
#pragma once
#include <filesystem>
#include <functional>
#include <mutex>
#include <string>
#include <vector>

#include "engine/model_host.h"
#include "hub/installed.h"
#include "server/app/model_pulls.h"

namespace fathom {

struct ModelLibraryOptions {
  std::filesystem::path models_folder;
  std::filesystem::path identity_memory, repack_folder;  ///< what is remembered of a model, and forgotten with it
  /// A model of the folder as this server loads it.
  std::function<HostedModel(const std::string& name, const std::filesystem::path& path)> hosted;
  std::function<PullOptions()> pull;  ///< endpoint, token, ...
};

class ModelLibrary {
 public:
  /// Tells the host of all that is installed. `on_change` hears when a pull begins or ends; what becomes of the host's
  /// list the host tells.
  ModelLibrary(ModelHost& host, ModelLibraryOptions options, std::function<void()> on_change);

  ModelPulls& pulls() { return pulls_; }
  /// Of a model of the host: whether remove() would take it.
  bool is_installed(const HostedModel& model) const;
  /// Removes a model from host and disk; returns the bytes that were freed. Throws ApiError 404 for one that is not
  /// installed, 409 for one that is in memory or being pulled.
  uint64_t remove(const std::string& name);
  /// The installed model that OWNER/NAME:FILE stands for, as the host knows it; "": none.
  std::string find(const std::string& repository, const std::string& file) const;
  /// Bytes that may still be written where models are kept.
  uint64_t disk_free_bytes() const;

 private:
  std::string added(const PullResult& result);
  void refresh();

  ModelHost& host_;
  const ModelLibraryOptions options_;
  std::mutex changing_;  // one at a time lists or removes
  ModelPulls pulls_;     // last: its threads use the others
};

}  // namespace fathom
