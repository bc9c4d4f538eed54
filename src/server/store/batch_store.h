// Batches and what is known of their lines, so that one which was interrupted goes on where it stopped. Thread-safe.
#pragma once
#include <memory>
#include <optional>
#include <set>
#include <string>

#include "base/json.h"
#include "server/store/database.h"

namespace fathom {

class BatchStore {
 public:
  static constexpr size_t kMostBatches = 10'000;

  explicit BatchStore(std::shared_ptr<Database> database);

  /// Writes a batch as its client sees it: {id, created_at, status, ...}. Old ones that are over give way.
  void put(const json::object& batch);
  /// With the counts of what is done by now.
  std::optional<json::object> find(const std::string& id);
  std::string status(const std::string& id);  ///< "": there is none
  /// At most `limit`, the newest first or the oldest, behind the one of the id `after`; nullopt: there is none of that
  /// id.
  std::optional<json::array> list(bool oldest_first, size_t limit, const std::optional<std::string>& after = {});
  /// Writes a batch that is no longer validating. False: it was cancelled meanwhile, nothing is written.
  bool begin(const json::object& batch);
  /// The oldest that is not over; those that only wait for room for their files come last.
  std::optional<json::object> next();
  /// Cancels what is not over yet: false, it was over, or there is none.
  bool cancel(const std::string& id, int64_t now);

  /// The result of a line, a line of an output file, once and for all.
  void put_line(const std::string& batch, size_t line, bool failed, const std::string& text);
  std::set<size_t> lines(const std::string& batch);
  uint64_t line_bytes(const std::string& batch);
  /// The lines in the file's order, each with its end.
  std::string joined(const std::string& batch, bool failed);
  /// Writes the batch's last state and forgets its lines.
  void finish(const json::object& batch);

 private:
  const std::shared_ptr<Database> database_;
};

}  // namespace fathom
