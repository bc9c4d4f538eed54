// The answers of /v1/responses that outlive their request, with what was asked, so that a later request can go on from
// one by its id. The oldest give way when there are too many. Thread-safe.
#pragma once
#include <chrono>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>

#include "base/json.h"
#include "server/api/workers.h"
#include "server/store/database.h"

namespace fathom {

struct StoredResponse {
  std::string id, previous_id;  ///< previous_id: empty where it begins a conversation
  int64_t created = 0;          ///< Unix time, s
  json::object response;        ///< as its client got it
  json::array input;            ///< the items that this request added
  uint64_t bytes = 0;           ///< of both, as text; known of what was found
};

class ResponseStore {
 public:
  struct Bounds {
    size_t count = 10'000;
    int64_t age_s = int64_t{30} * 24 * 3600;
    uint64_t bytes = uint64_t{1} << 30;
  };
  /// Of one response with its input, and of a conversation.
  static constexpr uint64_t kMostBytes = uint64_t{16} << 20, kMostConversationBytes = uint64_t{64} << 20;
  static constexpr size_t kMostTurns = 1000;

  ResponseStore(std::shared_ptr<Database> database, Bounds bounds);

  /// Writes it, over an earlier state of it, and lets go of what is too much or too old. Throws as Database::with does.
  void put(const StoredResponse& response);
  /// The same on the store's own thread, in the order of the calls; then calls `then` there: with null, or with why it
  /// was not written. `then` must not throw.
  void put_later(StoredResponse response, std::function<void(std::exception_ptr failed)> then);

  std::optional<StoredResponse> find(const std::string& id);
  bool remove(const std::string& id);
  /// The items of `id` and of all before it, input and output, the oldest first. nullopt: one of them is not kept.
  /// Throws Error if they are too many.
  std::optional<json::array> conversation(const std::string& id);

  /// An answer that is being made, from here to close(): what is stored of it is not its end.
  void open(const std::string& id);
  void close(const std::string& id);
  bool is_open(const std::string& id) const;

 private:
  void prune(soci::session& sql, int64_t now) const;

  const std::shared_ptr<Database> database_;
  const Bounds bounds_;
  mutable std::mutex mutex_;
  std::set<std::string> open_;
  Workers writer_{1};  // last: it uses all of the above
};

}  // namespace fathom
