// Files that clients upload, and those that batches write: what is known of each in the database, the bytes in a folder
// beside it (written aside and renamed), or in memory where the database is. Thread-safe.
#pragma once
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "server/store/database.h"

namespace fathom {

struct StoredFile {
  std::string id, filename, purpose;
  int64_t created = 0;  ///< Unix time, s
  uint64_t bytes = 0;
  std::optional<int64_t> expires = {};
};

class FileStore {
 public:
  struct Bounds {
    size_t count = 10'000;
    uint64_t bytes = uint64_t{4} << 30, memory_bytes = uint64_t{256} << 20;  ///< of all; in memory
  };

  /// Clears away what a server left that ended while it wrote. Throws Error where the folder cannot be made.
  FileStore(std::shared_ptr<Database> database, Bounds bounds);

  /// `file` has all but its bytes. Throws ResourceError if there is no room.
  StoredFile add(StoredFile file, std::string content);
  std::optional<StoredFile> find(const std::string& id);
  /// nullopt: there is none, or somebody has taken its bytes away.
  std::optional<std::string> content(const std::string& id);
  bool remove(const std::string& id);
  /// The newest first; `purpose` empty: all.
  std::vector<StoredFile> list(const std::string& purpose);
  /// Lets go of those whose time is over.
  void expire(int64_t now);

 private:
  std::filesystem::path place(const std::string& id) const { return folder_ / id; }
  void write(const std::string& id, std::string content);
  void erase(const std::string& id);
  void clear_away();

  const std::shared_ptr<Database> database_;
  const Bounds bounds_;
  const std::filesystem::path folder_;  // empty: in memory
  std::mutex mutex_;
  std::map<std::string, std::string> contents_;  // in memory
};

}  // namespace fathom
