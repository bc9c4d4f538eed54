// The server's memory between two starts: one SQLite file, through SOCI, for every component that keeps something
// (answers, files, batches, conversations). A component gives its tables as numbered migrations and works in
// transactions. One connection under a lock: SQLite is fast enough for what a server of this kind writes, and nobody
// has to think about isolation. Thread-safe. Other processes may have the same file open.
#pragma once
#include <atomic>
#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <type_traits>

namespace soci {
class session;
}  // namespace soci

namespace fathom {

class Database {
 public:
  /// Opens `file`, or makes it (mode 0600, its folder 0700). ":memory:": nothing is kept. Throws Error for a file that
  /// is no database, is damaged or belongs to another program (it is left as it is), and where it cannot be made.
  explicit Database(const std::filesystem::path& file);
  ~Database();
  Database(const Database&) = delete;
  Database& operator=(const Database&) = delete;

  /// Brings a component's tables up to date: migration i, one or several statements, leads from version i to i + 1,
  /// in a transaction of its own. A migration that was released is never changed; new ones are appended. Throws Error
  /// where the file's version is newer than `migrations`, or one fails.
  void migrate(std::string_view component, std::span<const std::string_view> migrations);

  /// Calls f(soci::session&) in a transaction that may write, and returns what it returns; an exception rolls it back
  /// and goes on. The session is this thread's alone until f returns; f calls neither with() nor read(). Throws
  /// ResourceError where the disk is full, the file is in use for too long or damaged.
  template <class F>
  auto with(F&& f) {
    return call(/*writes=*/true, std::forward<F>(f));
  }
  /// The same for a transaction that only reads: other processes may write meanwhile.
  template <class F>
  auto read(F&& f) {
    return call(/*writes=*/false, std::forward<F>(f));
  }

  const std::filesystem::path& path() const { return file_; }
  bool in_memory() const { return file_ == ":memory:"; }

 private:
  template <class F>
  auto call(bool writes, F&& f) {
    using Result = std::invoke_result_t<F, soci::session&>;
    if constexpr (std::is_void_v<Result>) {
      run(writes, std::forward<F>(f));
    } else {
      std::optional<Result> result;
      run(writes, [&](soci::session& session) { result.emplace(f(session)); });
      return std::move(*result);
    }
  }
  void run(bool writes, const std::function<void(soci::session&)>& f);
  void open();
  void claim();

  const std::filesystem::path file_;
  std::timed_mutex mutex_;
  std::atomic<bool> waits_ = false;      // the holder of the lock waits for another program
  std::atomic<std::thread::id> holder_;  // of the lock: to find calls within calls
  std::unique_ptr<soci::session> session_;
};

}  // namespace fathom
