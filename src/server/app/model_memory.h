// What the server's models would take of memory, beside what is free: told before one is loaded or fetched.
// Thread-safe.
#pragma once
#include <filesystem>
#include <map>
#include <mutex>
#include <optional>
#include <string>

#include "base/json.h"
#include "engine/memory_estimate.h"
#include "engine/model_host.h"

namespace fathom {

/// In bytes.
struct MemoryRoom {
  uint64_t free = 0;         ///< that nobody has, and none of the models in memory may still take
  uint64_t reclaimable = 0;  ///< more, once all models in memory are unloaded
  uint64_t all() const { return free + reclaimable; }
};
MemoryRoom memory_room(const ModelHost& host);

/// Whether so many bytes fit: "now", "after_unloading", "no".
const char* fits(uint64_t bytes, const MemoryRoom& room);

class ModelMemory {
 public:
  /// {need_bytes, least_bytes, weights_bytes, ctx, fits}, planned as Engine::load does for the model alone: need_bytes
  /// is for the context `ctx` that it would choose with this room, least_bytes for the shortest. {problem} where that
  /// cannot be told. Files that have not changed are read once.
  json::object need(const HostedModel& model, const MemoryRoom& room);
  /// Of its files, with all parts of a split GGUF.
  uint64_t size_bytes(const HostedModel& model);

 private:
  struct Header {
    std::filesystem::file_time_type modified;
    uint64_t stamp_bytes = 0;  // of the path itself
    uint64_t size_bytes = 0;
    std::optional<MemoryEstimate> estimate;
    ModelConfig config;
    std::string problem;
  };
  Header header(const HostedModel& model);
  static Header read(const HostedModel& model);

  std::mutex mutex_;
  std::map<std::filesystem::path, Header> headers_;
};

}  // namespace fathom
