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

std::optional<StoredResponse> read(soci::session& sql, const std::string& id) {
  StoredResponse out{.id = id, .previous_id = {}, .response = {}, .input = {}, .bytes = 0};
  std::string response, input;
  long long created = 0;
  sql << "SELECT previous_id, created_at, response, input FROM response WHERE id = :id", soci::into(out.previous_id),
      soci::into(created), soci::into(response), soci::into(input), soci::use(id);
  if (!sql.got_data()) return std::nullopt;
  out.created = created;
  out.bytes = response.size() + input.size();
  out.response = parse_json(response, "a stored response").as_object();
  out.input = parse_json(input, "a stored response's input").as_array();
  return out;
}

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
  return database_->read([&](soci::session& sql) { return read(sql, id); });
}

bool ResponseStore::remove(const std::string& id) {
  return database_->with([&](soci::session& sql) {
    soci::statement gone = (sql.prepare << "DELETE FROM response WHERE id = :id", soci::use(id));
    gone.execute(true);
    return gone.get_affected_rows() > 0;
  });
}

std::optional<json::array> ResponseStore::conversation(const std::string& id) {
  return database_->read([&](soci::session& sql) -> std::optional<json::array> {
    std::vector<StoredResponse> turns;  // the newest first
    uint64_t total = 0;
    for (std::string next = id; !next.empty(); next = turns.back().previous_id) {
      long long bytes = 0;
      sql << "SELECT bytes FROM response WHERE id = :id", soci::into(bytes), soci::use(next);
      if (!sql.got_data()) return std::nullopt;
      total += static_cast<uint64_t>(bytes);
      if (turns.size() == kMostTurns || total > kMostConversationBytes)
        throw Error(cat("the conversation up to ", id, " has more than ", kMostTurns, " turns or ",
                        kMostConversationBytes, " bytes"));
      turns.push_back(*read(sql, next));
    }
    json::array items;
    for (auto turn = turns.rbegin(); turn != turns.rend(); ++turn) {
      for (json::value& item : turn->input) items.push_back(std::move(item));
      if (json::value* output = turn->response.if_contains("output"); output && output->is_array())
        for (json::value& item : output->get_array()) items.push_back(std::move(item));
    }
    return items;
  });
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
