// One server for each store: what runs there is known to it alone, and another would take it for what a dead server
// left behind. Held from opening to the end, also by a process that is killed. Called by cli/serve.cc.
#pragma once
#include <filesystem>

namespace fathom {

class StoreLock {
 public:
  /// Locks `store` by the file STORE.lock beside it, which is made where it is missing (mode 0600) and has the holder's
  /// process id. Throws Error naming the store and the process that holds it.
  explicit StoreLock(const std::filesystem::path& store);
  ~StoreLock();
  StoreLock(const StoreLock&) = delete;
  StoreLock& operator=(const StoreLock&) = delete;

 private:
  int fd_;
};

}  // namespace fathom
