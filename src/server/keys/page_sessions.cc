#include "server/keys/page_sessions.h"

#include <soci/soci.h>
#include <sodium.h>

#include <algorithm>
#include <array>
#include <ctime>

#include "base/error.h"

namespace fathom {
namespace {

constexpr std::string_view kMigrations[] = {
    "CREATE TABLE page_session (id TEXT PRIMARY KEY, bound TEXT NOT NULL, expires BIGINT NOT NULL);",
};
constexpr size_t kTokenBytes = 32;
constexpr int64_t kRenewSeconds = 3600;  // the store is not written to for less

std::string hex(const unsigned char* bytes, size_t size) {
  std::string out(2 * size + 1, '\0');
  sodium_bin2hex(out.data(), out.size(), bytes, size);
  out.pop_back();
  return out;
}

std::string hash_of(const std::string& token) {
  const KeyRing::Digest digest = KeyRing::digest_of(token);
  return hex(digest.data(), digest.size());
}

std::string bound_to(const KeyRing::Digest& key, const std::string& token) {
  std::array<unsigned char, crypto_generichash_BYTES> out;
  crypto_generichash(out.data(), out.size(), key.data(), key.size(),
                     reinterpret_cast<const unsigned char*>(token.data()), token.size());
  return hex(out.data(), out.size());
}

}  // namespace

PageSessions::PageSessions(std::shared_ptr<Database> database) : database_(std::move(database)) {
  check(sodium_init() >= 0, "libsodium did not start");
  database_->migrate("page_sessions", kMigrations);
  database_->with([&](soci::session& sql) {
    const long long now = std::time(nullptr);
    sql << "DELETE FROM page_session WHERE expires < :now", soci::use(now);
    std::string id, bound;
    long long expires = 0;
    soci::statement rows =
        (sql.prepare << "SELECT id, bound, expires FROM page_session ORDER BY expires DESC LIMIT 1000", soci::into(id),
         soci::into(bound), soci::into(expires));
    rows.execute();
    while (rows.fetch()) sessions_[id] = {bound, expires};
  });
}

std::string PageSessions::begin(const KeyRing::Key& key, int64_t now) {
  std::array<unsigned char, kTokenBytes> random;
  randombytes_buf(random.data(), random.size());
  const std::string token = hex(random.data(), random.size()), id = hash_of(token), bound = bound_to(key.digest, token);
  const long long expires = now + kAgeSeconds;
  std::string gives_way;
  {
    const std::lock_guard lock(mutex_);
    if (sessions_.size() >= kMost)
      gives_way = std::ranges::min_element(sessions_, {}, [](const auto& s) { return s.second.expires; })->first;
    sessions_.erase(gives_way);
  }
  database_->with([&](soci::session& sql) {
    sql << "DELETE FROM page_session WHERE id = :id", soci::use(gives_way);
    sql << "INSERT INTO page_session (id, bound, expires) VALUES (:id, :bound, :expires)", soci::use(id),
        soci::use(bound), soci::use(expires);
  });
  const std::lock_guard lock(mutex_);
  sessions_[id] = {bound, expires};
  return token;
}

const KeyRing::Key* PageSessions::find(const std::string& token, const KeyRing& keys, int64_t now) const {
  std::string bound;
  {
    const std::lock_guard lock(mutex_);
    const auto found = sessions_.find(hash_of(token));
    if (found == sessions_.end() || found->second.expires < now) return nullptr;
    bound = found->second.bound;
  }
  const auto key =
      std::ranges::find_if(keys.all(), [&](const KeyRing::Key& k) { return bound_to(k.digest, token) == bound; });
  return key == keys.all().end() ? nullptr : &*key;
}

void PageSessions::renew(const std::string& token, int64_t now) {
  const std::string id = hash_of(token);
  const long long expires = now + kAgeSeconds;
  {
    const std::lock_guard lock(mutex_);
    const auto found = sessions_.find(id);
    if (found == sessions_.end() || expires - found->second.expires < kRenewSeconds) return;
    found->second.expires = expires;
  }
  database_->with([&](soci::session& sql) {
    sql << "UPDATE page_session SET expires = :expires WHERE id = :id", soci::use(expires), soci::use(id);
  });
}

bool PageSessions::end(const std::string& token) {
  const std::string id = hash_of(token);
  {
    const std::lock_guard lock(mutex_);
    if (!sessions_.contains(id)) return false;
  }
  // The store first: what it cannot forget now would be back after a restart.
  database_->with([&](soci::session& sql) { sql << "DELETE FROM page_session WHERE id = :id", soci::use(id); });
  const std::lock_guard lock(mutex_);
  return sessions_.erase(id) != 0;
}

size_t PageSessions::count() const {
  const std::lock_guard lock(mutex_);
  return sessions_.size();
}

}  // namespace fathom
