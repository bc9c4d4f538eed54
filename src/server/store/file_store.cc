#include "server/store/file_store.h"

#include <fcntl.h>
#include <soci/soci.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/error.h"
#include "base/json.h"

namespace fathom {
namespace {

constexpr std::string_view kMigrations[] = {
    "CREATE TABLE file (id TEXT PRIMARY KEY, filename TEXT NOT NULL, purpose TEXT NOT NULL, created_at BIGINT NOT "
    "NULL, "
    "bytes BIGINT NOT NULL, expires_at BIGINT NOT NULL);"  // expires_at 0: never
    "CREATE INDEX file_by_age ON file (created_at, id);",
};

std::vector<StoredFile> select(soci::session& sql, const std::string& condition, const std::string& value) {
  std::string id, filename, purpose;
  long long created = 0, bytes = 0, expires = 0;
  soci::statement rows =
      (sql.prepare << "SELECT id, filename, purpose, created_at, bytes, expires_at FROM file WHERE " + condition +
                          " ORDER BY created_at DESC, id DESC",
       soci::into(id), soci::into(filename), soci::into(purpose), soci::into(created), soci::into(bytes),
       soci::into(expires), soci::use(value));
  rows.execute();
  std::vector<StoredFile> out;
  while (rows.fetch())
    out.push_back({id, filename, purpose, created, static_cast<uint64_t>(bytes),
                   expires ? std::optional<int64_t>(expires) : std::nullopt});
  return out;
}

ResourceError cannot(const std::filesystem::path& path) {
  return ResourceError(cat("the file store ", path.string(), ": ", std::strerror(errno)));
}

}  // namespace

FileStore::FileStore(std::shared_ptr<Database> database, Bounds bounds)
    : database_(std::move(database)),
      bounds_(bounds),
      folder_(database_->in_memory() ? "" : database_->path().string() + ".files") {
  database_->migrate("files", kMigrations);
  if (folder_.empty()) return;
  if (::mkdir(folder_.c_str(), 0700) != 0 && errno != EEXIST)
    throw Error(cat(folder_.string(), ": expected a folder for files: ", std::strerror(errno)));
  clear_away();
}

void FileStore::clear_away() {
  std::error_code error;
  const auto now = std::filesystem::file_time_type::clock::now();
  for (const auto& entry : std::filesystem::directory_iterator(folder_, error)) {
    // A young one may be another server's that is just being written.
    const auto written = entry.last_write_time(error);
    if (error || now - written < std::chrono::hours(1)) continue;
    if (!find(entry.path().filename().string())) std::filesystem::remove(entry.path(), error);
  }
}

void FileStore::write(const std::string& id, std::string content) {
  if (folder_.empty()) {
    const std::lock_guard lock(mutex_);
    contents_[id] = std::move(content);
    return;
  }
  // One may be there: a batch's files have the same names after a server that was killed.
  const std::filesystem::path aside = place(id).string() + ".part";
  const int fd = ::open(aside.c_str(), O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);
  if (fd < 0) throw cannot(aside);
  const auto failed = [&] {
    const int why = errno;
    ::close(fd);
    ::unlink(aside.c_str());
    errno = why;
    return cannot(aside);
  };
  for (std::string_view left = content; !left.empty();) {
    const ssize_t n = ::write(fd, left.data(), left.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) throw failed();
    left.remove_prefix(static_cast<size_t>(n));
  }
  if (::fsync(fd) != 0) throw failed();
  ::close(fd);
  if (::rename(aside.c_str(), place(id).c_str()) != 0) throw cannot(aside);
}

void FileStore::erase(const std::string& id) {
  if (folder_.empty()) {
    const std::lock_guard lock(mutex_);
    contents_.erase(id);
    return;
  }
  std::error_code error;  // what is left is cleared away at the next start
  std::filesystem::remove(place(id), error);
}

StoredFile FileStore::add(StoredFile file, std::string content) {
  file.bytes = content.size();
  const auto [count, bytes] = database_->read([](soci::session& sql) {
    long long n = 0, sum = 0;
    sql << "SELECT count(*), coalesce(sum(bytes), 0) FROM file", soci::into(n), soci::into(sum);
    return std::pair(static_cast<size_t>(n), static_cast<uint64_t>(sum));
  });
  const uint64_t most = folder_.empty() ? bounds_.memory_bytes : bounds_.bytes;
  if (count >= bounds_.count || bytes + file.bytes > most)
    throw ResourceError(cat("the file store has room for ", bounds_.count, " files and ", most, " bytes; it has ",
                            count, " and ", bytes, ", this file has ", file.bytes, ": delete some"));
  write(file.id, std::move(content));  // before anybody can ask for it
  try {
    database_->with([&](soci::session& sql) {
      const long long size = static_cast<long long>(file.bytes), created = file.created;
      const long long expires = file.expires.value_or(0);
      sql << "INSERT INTO file (id, filename, purpose, created_at, bytes, expires_at) VALUES (:i, :f, :p, :c, :b, :e)",
          soci::use(file.id), soci::use(file.filename), soci::use(file.purpose), soci::use(created), soci::use(size),
          soci::use(expires);
    });
  } catch (...) {
    erase(file.id);
    throw;
  }
  return file;
}

std::optional<StoredFile> FileStore::find(const std::string& id) {
  std::vector<StoredFile> found = database_->read([&](soci::session& sql) { return select(sql, "id = :id", id); });
  return found.empty() ? std::nullopt : std::optional(std::move(found.front()));
}

std::optional<std::string> FileStore::content(const std::string& id) {
  if (!find(id)) return std::nullopt;  // so that no other name becomes a path
  if (!folder_.empty())
    return std::filesystem::exists(place(id)) ? std::optional(read_text_file(place(id))) : std::nullopt;
  const std::lock_guard lock(mutex_);
  const auto found = contents_.find(id);
  return found == contents_.end() ? std::nullopt : std::optional(found->second);
}

bool FileStore::remove(const std::string& id) {
  const bool was = database_->with([&](soci::session& sql) {
    soci::statement gone = (sql.prepare << "DELETE FROM file WHERE id = :id", soci::use(id));
    gone.execute(true);
    return gone.get_affected_rows() > 0;
  });
  if (was) erase(id);
  return was;
}

std::vector<StoredFile> FileStore::list(const std::string& purpose) {
  return database_->read([&](soci::session& sql) { return select(sql, "(purpose = :p OR :p = '')", purpose); });
}

void FileStore::expire(int64_t now) {
  const std::vector<StoredFile> over = database_->read([&](soci::session& sql) {
    return select(sql, "expires_at <> 0 AND expires_at <= CAST(:now AS BIGINT)", std::to_string(now));
  });
  for (const StoredFile& file : over) remove(file.id);
}

}  // namespace fathom
