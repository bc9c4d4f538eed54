#include "server/store/response_store.h"

#include <soci/soci.h>

#include <vector>

#include "base/error.h"

namespace fathom {
namespace {

constexpr std::string_view kMigrations[] = {
    "CREATE TABLE response (id TEXT PRIMARY KEY, previous_id TEXT NOT NULL, created_at BIGINT NOT NULL, "
    "bytes BIGINT NOT NULL, response TEXT NOT NULL, input TEXT NOT NULL);"
    "CREATE INDEX response_by_age ON response (created_at, bytes);",
};

/// As it is stored: what reads it holds the store, what parses it, perhaps megabytes, does not.
struct Row {
  std::string previous_id, response, input;
  long long created = 0;
};

std::optional<Row> read(soci::session& sql, const std::string& id) {
  Row row;
  sql << "SELECT previous_id, created_at, response, input FROM response WHERE id = :id", soci::into(row.previous_id),
      soci::into(row.created), soci::into(row.response), soci::into(row.input), soci::use(id);
  if (!sql.got_data()) return std::nullopt;
  return row;
}

json::object parsed_response(const Row& row) { return parse_json(row.response, "a stored response").as_object(); }
json::array parsed_input(const Row& row) { return parse_json(row.input, "a stored response's input").as_array(); }

}  // namespace

ResponseStore::ResponseStore(std::shared_ptr<Database> database, Bounds bounds)
    : database_(std::move(database)), bounds_(bounds) {
  database_->migrate("responses", kMigrations);
}

void ResponseStore::put(const StoredResponse& response) {
  const std::string text = to_json(response.response), input = to_json(response.input);
  const long long created = response.created, bytes = static_cast<long long>(text.size() + input.size());
  database_->with([&](soci::session& sql) {
    sql << "INSERT INTO response (id, previous_id, created_at, bytes, response, input) VALUES (:id, :previous, "
           ":created, "
           ":bytes, :response, :input) ON CONFLICT (id) DO UPDATE SET bytes = excluded.bytes, response = "
           "excluded.response",
        soci::use(response.id), soci::use(response.previous_id), soci::use(created), soci::use(bytes), soci::use(text),
        soci::use(input);
    prune(sql, created);
  });
}

void ResponseStore::prune(soci::session& sql, int64_t now) const {
  const long long oldest = now - bounds_.age_s;
  sql << "DELETE FROM response WHERE created_at < :oldest", soci::use(oldest);
  while (true) {
    long long count = 0, bytes = 0;
    sql << "SELECT count(*), coalesce(sum(bytes), 0) FROM response", soci::into(count), soci::into(bytes);
    if (static_cast<size_t>(count) <= bounds_.count && static_cast<uint64_t>(bytes) <= bounds_.bytes) return;
    sql << "DELETE FROM response WHERE id = (SELECT id FROM response ORDER BY created_at, bytes LIMIT 1)";
  }
}

void ResponseStore::put_later(StoredResponse response, std::function<void(std::exception_ptr)> then) {
  writer_.post([this, response = std::move(response), then = std::move(then)] {
    std::exception_ptr failed;
    try {
      put(response);
    } catch (...) {
      failed = std::current_exception();
    }
    then(std::move(failed));
  });
}

std::optional<StoredResponse> ResponseStore::find(const std::string& id) {
  const std::optional<Row> row = database_->read([&](soci::session& sql) { return read(sql, id); });
  if (!row) return std::nullopt;
  return StoredResponse{.id = id,
                        .previous_id = row->previous_id,
                        .created = row->created,
                        .response = parsed_response(*row),
                        .input = parsed_input(*row),
                        .bytes = row->response.size() + row->input.size()};
}

bool ResponseStore::remove(const std::string& id) {
  return database_->with([&](soci::session& sql) {
    soci::statement gone = (sql.prepare << "DELETE FROM response WHERE id = :id", soci::use(id));
    gone.execute(true);
    return gone.get_affected_rows() > 0;
  });
}

std::optional<json::array> ResponseStore::conversation(const std::string& id) {
  using Turns = std::vector<Row>;  // the newest first
  std::optional<Turns> turns = database_->read([&](soci::session& sql) -> std::optional<Turns> {
    Turns found;
    uint64_t total = 0;
    for (std::string next = id; !next.empty(); next = found.back().previous_id) {
      long long bytes = 0;
      sql << "SELECT bytes FROM response WHERE id = :id", soci::into(bytes), soci::use(next);
      if (!sql.got_data()) return std::nullopt;
      total += static_cast<uint64_t>(bytes);
      if (found.size() == kMostTurns || total > kMostConversationBytes)
        throw Error(cat("the conversation up to ", id, " has more than ", kMostTurns, " turns or ",
                        kMostConversationBytes, " bytes"));
      found.push_back(*read(sql, next));
    }
    return found;
  });
  if (!turns) return std::nullopt;
  json::array items;
  for (; !turns->empty(); turns->pop_back()) {
    for (json::value& item : parsed_input(turns->back())) items.push_back(std::move(item));
    json::object response = parsed_response(turns->back());
    if (json::value* output = response.if_contains("output"); output && output->is_array())
      for (json::value& item : output->get_array()) items.push_back(std::move(item));
  }
  return items;
}

void ResponseStore::open(const std::string& id) {
  const std::lock_guard lock(mutex_);
  open_.insert(id);
}
void ResponseStore::close(const std::string& id) {
  const std::lock_guard lock(mutex_);
  open_.erase(id);
}
bool ResponseStore::is_open(const std::string& id) const {
  const std::lock_guard lock(mutex_);
  return open_.contains(id);
}

}  // namespace fathom
