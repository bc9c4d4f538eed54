#include "server/store/batch_store.h"

#include <soci/soci.h>

#include <vector>

#include "base/error.h"

namespace fathom {
namespace {

constexpr std::string_view kMigrations[] = {
    "CREATE TABLE batch (id TEXT PRIMARY KEY, created_at BIGINT NOT NULL, status TEXT NOT NULL, object TEXT NOT NULL);"
    "CREATE INDEX batch_by_age ON batch (created_at, id);"
    "CREATE TABLE batch_line (batch_id TEXT NOT NULL REFERENCES batch (id) ON DELETE CASCADE, line BIGINT NOT NULL, "
    "failed INTEGER NOT NULL, text TEXT NOT NULL, PRIMARY KEY (batch_id, line));"
    "CREATE INDEX batch_line_by_result ON batch_line (batch_id, failed);",  // counting reads no texts
};
constexpr const char* kOpen = "('validating', 'in_progress', 'finalizing', 'cancelling')";

std::string text(const json::object& object, const char* key) { return std::string(object.at(key).as_string()); }

void write(soci::session& sql, const json::object& batch) {
  const std::string id = text(batch, "id"), status = text(batch, "status"), object = to_json(batch);
  const long long created = batch.at("created_at").as_int64();
  sql << "INSERT INTO batch (id, created_at, status, object) VALUES (:id, :created, :status, :object) ON CONFLICT (id) "
         "DO UPDATE SET status = excluded.status, object = excluded.object",
      soci::use(id), soci::use(created), soci::use(status), soci::use(object);
}

std::optional<json::object> read(soci::session& sql, const std::string& id) {
  std::string object;
  sql << "SELECT object FROM batch WHERE id = :id", soci::into(object), soci::use(id);
  if (!sql.got_data()) return std::nullopt;
  json::object batch = parse_json(object, "a stored batch").as_object();
  if (const std::string status = text(batch, "status");
      status == "in_progress" || status == "cancelling" || status == "finalizing") {
    long long done = 0, failed = 0;
    sql << "SELECT count(*), coalesce(sum(failed), 0) FROM batch_line WHERE batch_id = :id", soci::into(done),
        soci::into(failed), soci::use(id);
    json::object& counts = batch["request_counts"].as_object();
    counts["completed"] = done - failed, counts["failed"] = failed;
  }
  return batch;
}

}  // namespace

BatchStore::BatchStore(std::shared_ptr<Database> database) : database_(std::move(database)) {
  database_->migrate("batches", kMigrations);
}

void BatchStore::put(const json::object& batch) {
  database_->with([&](soci::session& sql) {
    write(sql, batch);
    sql << cat("DELETE FROM batch WHERE status NOT IN ", kOpen,
               " AND id IN (SELECT id FROM batch ORDER BY created_at DESC, id DESC LIMIT 1000 OFFSET ", kMostBatches,
               ")");
  });
}

bool BatchStore::begin(const json::object& batch) {
  const std::string id = text(batch, "id");
  return database_->with([&](soci::session& sql) {
    const std::optional<json::object> now = read(sql, id);
    if (!now || text(*now, "status") != "validating") return false;
    write(sql, batch);
    return true;
  });
}

std::optional<json::object> BatchStore::find(const std::string& id) {
  return database_->read([&](soci::session& sql) { return read(sql, id); });
}

std::string BatchStore::status(const std::string& id) {
  return database_->read([&](soci::session& sql) {
    std::string status;
    sql << "SELECT status FROM batch WHERE id = :id", soci::into(status), soci::use(id);
    return status;
  });
}

std::optional<json::array> BatchStore::list(bool oldest_first, size_t limit, const std::optional<std::string>& after) {
  return database_->read([&](soci::session& sql) -> std::optional<json::array> {
    const std::string behind = after.value_or("");
    const long long most = static_cast<long long>(limit);
    long long created = 0;
    if (after) {
      sql << "SELECT created_at FROM batch WHERE id = :id", soci::into(created), soci::use(behind);
      if (!sql.got_data()) return std::nullopt;
    }
    const char *way = oldest_first ? "ASC" : "DESC", *than = oldest_first ? ">" : "<";
    std::string id;
    soci::statement rows =
        (sql.prepare << cat("SELECT id FROM batch WHERE :behind = '' OR (created_at, id) ", than,
                            " (:created, :behind) ORDER BY created_at ", way, ", id ", way, " LIMIT :most"),
         soci::into(id), soci::use(behind, "behind"), soci::use(created, "created"), soci::use(most, "most"));
    rows.execute();
    std::vector<std::string> ids;
    while (rows.fetch()) ids.push_back(id);
    json::array out;
    for (const std::string& one : ids) out.push_back(*read(sql, one));
    return out;
  });
}

std::optional<json::object> BatchStore::next() {
  return database_->read([](soci::session& sql) -> std::optional<json::object> {
    std::string id;
    sql << cat("SELECT id FROM batch WHERE status IN ", kOpen,
               " ORDER BY status = 'finalizing', created_at, id LIMIT 1"),
        soci::into(id);
    return sql.got_data() ? read(sql, id) : std::nullopt;
  });
}

bool BatchStore::cancel(const std::string& id, int64_t now) {
  return database_->with([&](soci::session& sql) {
    std::optional<json::object> batch = read(sql, id);
    if (!batch) return false;
    const std::string status = text(*batch, "status");
    if (status != "validating" && status != "in_progress") return false;
    (*batch)["status"] = "cancelling";
    (*batch)["cancelling_at"] = now;
    write(sql, *batch);
    return true;
  });
}

void BatchStore::put_line(const std::string& batch, size_t line, bool failed, const std::string& text) {
  const long long number = static_cast<long long>(line);
  const int wrong = failed ? 1 : 0;
  database_->with([&](soci::session& sql) {
    sql << "INSERT INTO batch_line (batch_id, line, failed, text) VALUES (:b, :l, :f, :t) ON CONFLICT (batch_id, line) "
           "DO NOTHING",
        soci::use(batch), soci::use(number), soci::use(wrong), soci::use(text);
  });
}

std::set<size_t> BatchStore::lines(const std::string& batch) {
  return database_->read([&](soci::session& sql) {
    long long line = 0;
    soci::statement rows =
        (sql.prepare << "SELECT line FROM batch_line WHERE batch_id = :b", soci::into(line), soci::use(batch));
    rows.execute();
    std::set<size_t> out;
    while (rows.fetch()) out.insert(static_cast<size_t>(line));
    return out;
  });
}

uint64_t BatchStore::line_bytes(const std::string& batch) {
  return database_->read([&](soci::session& sql) {
    long long bytes = 0;
    sql << "SELECT coalesce(sum(length(text)), 0) FROM batch_line WHERE batch_id = :b", soci::into(bytes),
        soci::use(batch);
    return static_cast<uint64_t>(bytes);
  });
}

std::string BatchStore::joined(const std::string& batch, bool failed) {
  const int wrong = failed ? 1 : 0;
  return database_->read([&](soci::session& sql) {
    std::string line, out;
    soci::statement rows =
        (sql.prepare << "SELECT text FROM batch_line WHERE batch_id = :b AND failed = :f ORDER BY line",
         soci::into(line), soci::use(batch), soci::use(wrong));
    rows.execute();
    while (rows.fetch()) out += line, out += '\n';
    return out;
  });
}

void BatchStore::finish(const json::object& batch) {
  const std::string id = text(batch, "id");
  database_->with([&](soci::session& sql) {
    write(sql, batch);
    sql << "DELETE FROM batch_line WHERE batch_id = :b", soci::use(id);
  });
}

}  // namespace fathom
