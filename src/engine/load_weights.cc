#include "engine/load_weights.h"

#include <atomic>
#include <cstdio>
#include <future>

#include "base/log.h"
#include "base/thread_pool.h"
#include "engine/identity.h"
#include "models/repack_file.h"

namespace fathom {
namespace {

namespace fs = std::filesystem;

std::string gigabytes(uint64_t bytes) {
  char text[32];
  std::snprintf(text, sizeof text, "%.2f GB", static_cast<double>(bytes) / 1e9);
  return text;
}

/// The weights id, computed on a thread of its own; given up when this dies first.
class IdInBackground {
 public:
  explicit IdInBackground(const Checkpoint& checkpoint)
      : id_(std::async(std::launch::async, [this, &checkpoint] {
          return weights_id(checkpoint, [this](uint64_t, uint64_t) {
            if (stop_) throw Interrupted();
          });
        })) {}
  ~IdInBackground() { stop_ = true; }
  IdInBackground(const IdInBackground&) = delete;
  IdInBackground& operator=(const IdInBackground&) = delete;
  std::string get() { return id_.get(); }

 private:
  std::atomic<bool> stop_{false};
  std::future<std::string> id_;  // last: its end waits for the thread, which reads stop_
};

class Loading {
 public:
  Loading(const Checkpoint& checkpoint, const EngineOptions& options, EngineInfo& info)
      : checkpoint_(checkpoint), options_(options), info_(info), ids_(options.identity_memory) {}

  std::unique_ptr<const Model> load() {
    if (options_.identity_memory.empty()) return load_model(checkpoint_, how());
    const std::string stamp = WeightsIdMemory::stamp(info_.path);
    const std::optional<std::string> known = ids_.recall(stamp);
    if (known) {
      info_.weights_id = *known;
      if (std::unique_ptr<const Model> model = load_repacked()) return model;
    }
    std::unique_ptr<const Model> model;
    if (known) {
      model = load_model(checkpoint_, how());
    } else {
      IdInBackground id(checkpoint_);
      model = load_model(checkpoint_, how());
      info_.weights_id = id.get();
      const std::vector<std::string> gone = ids_.remember(stamp, info_.weights_id);
      if (keeps_files()) remove_repack_files(options_.repack_folder, gone);
    }
    if (keeps_files() && model->weights().size_bytes() >= options_.least_repacked_bytes) write(model->weights());
    return model;
  }

 private:
  LoadOptions how() const { return {.progress = options_.progress, .threads = info_.threads}; }
  bool keeps_files() const { return !options_.repack_folder.empty(); }
  RepackKey key() const { return {info_.weights_id, info_.kernels}; }
  fs::path file() const { return repack_path(options_.repack_folder, key()); }

  /// Null: there is no such file, or it is of no use, which a note then says.
  std::unique_ptr<const Model> load_repacked() {
    std::error_code ignored;
    if (!keeps_files() || !fs::exists(file(), ignored)) return nullptr;
    try {
      RepackFile repacked(file(), key());
      LoadOptions options = how();
      options.repacked = &repacked;
      std::unique_ptr<const Model> model = load_model(checkpoint_, options);
      repacked.require_end();
      info_.repacked = file().string();
      log(LogLevel::kInfo, cat("repacked weights: ", info_.repacked, ", ", gigabytes(repacked.size_bytes()),
                               repacked.in_place() ? ", mapped" : ", read"));
      return model;
    } catch (const Interrupted&) {
      throw;
    } catch (const Error& e) {
      refused_ = true;
      info_.notes.push_back(cat("the repacked weights are not used, and made anew: ", e.what()));
      return nullptr;
    }
  }

  void write(const Weights& weights) {
    try {
      // A copy of a model that has its file already is recognised only now.
      if (std::error_code ignored; !refused_ && fs::exists(file(), ignored)) return;
      ThreadPool pool(info_.threads);
      const uint64_t size = write_repack_file(file(), key(), weights, pool);
      info_.notes.push_back(cat("the repacked weights, ", gigabytes(size), ", were written to ", file().string(),
                                " for a faster start (--repack-cache off: not)"));
    } catch (const std::exception& e) {  // a full disk, a folder that cannot be written: this run has its weights
      info_.notes.push_back(cat("the repacked weights were not written: ", e.what()));
    }
  }

  const Checkpoint& checkpoint_;
  const EngineOptions& options_;
  EngineInfo& info_;
  WeightsIdMemory ids_;
  bool refused_ = false;  // there is a file, and it is of no use
};

}  // namespace

std::unique_ptr<const Model> load_weights(const Checkpoint& checkpoint, const EngineOptions& options,
                                          EngineInfo& info) {
  return Loading(checkpoint, options, info).load();
}

uint64_t forget_model(const fs::path& model, const fs::path& identity_memory, const fs::path& repack_folder) {
  return remove_repack_files(repack_folder, WeightsIdMemory(identity_memory).forget(model));
}

}  // namespace fathom
