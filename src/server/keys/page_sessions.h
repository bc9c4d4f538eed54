// The sessions of pages whose person has given a key: a random token in a cookie, of which the store keeps the hash. A
// session is bound to its key by a hash over both, so that the store alone says nothing of keys, and a key that is
// taken away takes its sessions along. They end after kAgeSeconds without a visit. Thread-safe; what is asked with
// every request is answered from memory.
#pragma once
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>

#include "server/keys/key_ring.h"
#include "server/store/database.h"

namespace fathom {

class PageSessions {
 public:
  static constexpr int64_t kAgeSeconds = int64_t{30} * 24 * 3600;
  static constexpr size_t kMost = 1000;  ///< the one that nobody has used for longest gives way

  /// Throws as Database does.
  explicit PageSessions(std::shared_ptr<Database> database);

  /// A new one; returns its token, 64 hex digits. `now`: Unix time, s.
  std::string begin(const KeyRing::Key& key, int64_t now);
  /// The key of a session that has not ended; null: there is none, or the key is not in `keys`.
  const KeyRing::Key* find(const std::string& token, const KeyRing& keys, int64_t now) const;
  /// It lasts for kAgeSeconds from now on.
  void renew(const std::string& token, int64_t now);
  /// False: there was none.
  bool end(const std::string& token);
  size_t count() const;

 private:
  struct Session {
    std::string bound;  // BLAKE2b-256 of the key's hash, keyed with the token; hex
    int64_t expires;
  };
  const std::shared_ptr<Database> database_;
  mutable std::mutex mutex_;
  std::unordered_map<std::string, Session> sessions_;  // by the token's hash
};

}  // namespace fathom
