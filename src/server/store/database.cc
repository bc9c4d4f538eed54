#include "server/store/database.h"

#include <fcntl.h>
#include <soci/soci.h>
#include <soci/sqlite3/soci-sqlite3.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>

#include "base/error.h"

namespace fathom {
namespace {

constexpr int kApplicationId = 0x46744d31;  // in the file's header: ours
// How long another program may hold the file: when it is opened, and of a transaction, for which somebody waits.
constexpr int kOpeningMs = 10'000, kBusyMs = 2'000;

constexpr int kBusy = 5, kReadOnly = 8, kIoError = 10, kCorrupt = 11, kFull = 13, kCannotOpen = 14, kNoDatabase = 26;

/// What SQLite's code means to people; "": a mistake of ours.
const char* meaning(int code) {
  switch (code & 0xff) {
    case kBusy: return "another program holds it";
    case kReadOnly: return "it cannot be written";
    case kIoError: return "it cannot be read or written";
    case kCorrupt: return "it is damaged";
    case kFull: return "the disk is full";
    case kCannotOpen: return "it cannot be opened";
    case kNoDatabase: return "it is no SQLite database, or damaged";
    default: return "";
  }
}

/// A new file is made before SQLite does, so that nobody else can read it at any time.
void make_file(const std::filesystem::path& file) {
  std::error_code error;
  if (const std::filesystem::path folder = file.parent_path();
      !folder.empty() && !std::filesystem::exists(folder, error)) {
    std::filesystem::create_directories(folder.parent_path(), error);
    if (::mkdir(folder.c_str(), 0700) != 0 && errno != EEXIST)
      throw Error(cat(folder.string(), ": expected a folder for the store: ", std::strerror(errno)));
  }
  const int fd = ::open(file.c_str(), O_CREAT | O_RDWR | O_CLOEXEC | O_NONBLOCK, 0600);
  if (fd < 0) throw Error(cat(file.string(), ": expected a store that can be written: ", std::strerror(errno)));
  std::array<char, 16> head{};
  struct stat info {};
  const bool is_file = ::fstat(fd, &info) == 0 && S_ISREG(info.st_mode);
  const ssize_t size = is_file ? ::pread(fd, head.data(), head.size(), 0) : -1;
  ::close(fd);
  if (!is_file) throw Error(cat(file.string(), ": expected a file for the store, found something else"));
  if (size != 0 && (size != 16 || std::memcmp(head.data(), "SQLite format 3", 16) != 0))
    throw Error(cat(file.string(), ": expected a store (an SQLite database), found another kind of file"));
}

}  // namespace

Database::Database(const std::filesystem::path& file) : file_(file), session_(std::make_unique<soci::session>()) {
  if (!in_memory()) {
    if (file_.string().find('"') != std::string::npos)
      throw Error(cat(file_.string(), ": expected a store's path without quotes"));
    make_file(file_);
  }
  try {
    open();
  } catch (const soci::soci_error& e) {
    const auto* of_sqlite = dynamic_cast<const soci::sqlite3_soci_error*>(&e);
    const char* why = of_sqlite ? meaning(of_sqlite->result()) : "";
    throw Error(cat(file_.string(), ": the store cannot be used: ", *why ? why : e.what()));
  }
}

Database::~Database() = default;

void Database::open() {
  session_->open(soci::sqlite3, in_memory() ? ":memory:" : cat("db=\"", file_.string(), "\""));
  soci::session& sql = *session_;
  sql << cat("PRAGMA busy_timeout = ", kOpeningMs);
  claim();
  // A lost power supply may cost the last transactions (NORMAL), never the file.
  std::string mode;
  sql << "PRAGMA journal_mode = WAL", soci::into(mode);
  sql << "PRAGMA synchronous = NORMAL";
  sql << "PRAGMA foreign_keys = ON";
  sql << "PRAGMA secure_delete = ON";  // what was deleted cannot be found in the file
  sql << cat("PRAGMA busy_timeout = ", kBusyMs);
}

/// Sees that the file is ours, or empty: then it becomes ours.
void Database::claim() {
  soci::session& sql = *session_;
  sql << "BEGIN IMMEDIATE";
  int id = 0, tables = 0;
  sql << "PRAGMA application_id", soci::into(id);
  sql << "SELECT count(*) FROM sqlite_master", soci::into(tables);
  if (id != kApplicationId) {
    if (id != 0 || tables != 0)
      throw Error(cat(file_.string(), ": expected a store of fathom, found the database of another program"));
    sql << cat("PRAGMA application_id = ", kApplicationId);
    sql << "CREATE TABLE fathom_migrations (component TEXT PRIMARY KEY, version INTEGER NOT NULL)";
  }
  sql << "COMMIT";
}

void Database::run(bool writes, const std::function<void(soci::session&)>& f) {
  check(holder_ != std::this_thread::get_id(), "no transaction within a transaction");
  std::unique_lock lock(mutex_, std::defer_lock);
  // Behind somebody who waits for another program nobody waits longer than he does; our own work is waited for.
  while (!lock.try_lock_for(std::chrono::milliseconds(kBusyMs)))
    if (waits_) throw ResourceError(cat("the store ", file_.string(), " is busy: ", meaning(kBusy)));
  holder_ = std::this_thread::get_id();
  soci::session& sql = *session_;
  bool begun = false;
  try {
    try {
      waits_ = writes;
      sql << (writes ? "BEGIN IMMEDIATE" : "BEGIN");
      waits_ = false;
      begun = true;
      f(sql);
      sql << "COMMIT";
    } catch (...) {
      holder_ = std::thread::id();
      waits_ = false;
      // Some errors have ended the transaction already.
      if (begun &&
          !sqlite_api::sqlite3_get_autocommit(static_cast<soci::sqlite3_session_backend*>(sql.get_backend())->conn_))
        sql << "ROLLBACK";
      throw;
    }
  } catch (const soci::sqlite3_soci_error& e) {
    if ((e.result() & 0xff) == kBusy)
      throw ResourceError(cat("the store ", file_.string(), " is busy: ", meaning(kBusy)));
    if (const char* why = meaning(e.result()); *why) throw ResourceError(cat("the store ", file_.string(), ": ", why));
    throw;
  }
  holder_ = std::thread::id();
}

void Database::migrate(std::string_view component, std::span<const std::string_view> migrations) {
  const std::string name(component);
  for (bool done = false; !done;) {
    with([&](soci::session& sql) {
      int version = 0;
      sql << "SELECT version FROM fathom_migrations WHERE component = :c", soci::into(version), soci::use(name);
      if (version < 0 || static_cast<size_t>(version) > migrations.size())
        throw Error(cat(file_.string(), ": expected version ", migrations.size(), " of its ", name,
                        " at most, found version ", version, ": a newer fathom has written it"));
      done = static_cast<size_t>(version) == migrations.size();
      if (done) return;
      // SOCI prepares one statement at a time, a migration has several.
      char* message = nullptr;
      const std::string text(migrations[static_cast<size_t>(version)]);
      sqlite_api::sqlite3* connection = static_cast<soci::sqlite3_session_backend*>(sql.get_backend())->conn_;
      if (sqlite_api::sqlite3_exec(connection, text.c_str(), nullptr, nullptr, &message) != 0) {
        const std::string why = message ? message : "unknown";
        sqlite_api::sqlite3_free(message);
        throw Error(cat(file_.string(), ": migration ", version + 1, " of its ", name, " failed: ", why));
      }
      const int next = version + 1;
      sql << "INSERT INTO fathom_migrations VALUES (:c, :v) ON CONFLICT (component) DO UPDATE SET version = "
             "excluded.version",
          soci::use(name), soci::use(next);
    });
  }
}

}  // namespace fathom
