// Who may ask a server that has keys. A request bears one as `Authorization: Bearer KEY` (OpenAI, DeepSeek, Ollama) or
// `x-api-key: KEY` (Anthropic), or the cookie of a page whose person has given one at the login. Everybody may ask for
// what needs_no_key() names. check() is called for every other request, on I/O threads, and blocks for a look at the
// key file's date at most. Wrong keys are counted, logged without the key, and limited (guess_limiter.h). Thread-safe.
#pragma once
#include <array>
#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "server/http/http.h"
#include "server/keys/guess_limiter.h"
#include "server/keys/key_ring.h"
#include "server/keys/page_sessions.h"

namespace fathom {

/// Requests without a key that was right: none was there, it was wrong, not looked at (the limit), a session was over.
enum class KeyFailure { kMissing, kWrong, kLimited, kSession };
inline constexpr size_t kKeyFailures = 4;
struct KeyCounters {
  std::array<uint64_t, kKeyFailures> failures{};  ///< by KeyFailure
  uint64_t logins = 0;
  size_t sessions = 0;  ///< now
};

class KeyAccess {
 public:
  /// `host_names`: as check_app_access() takes them. Throws as PageSessions does.
  KeyAccess(KeyRing keys, std::shared_ptr<Database> store, std::vector<std::string> host_names);

  /// The name of the key that a request bears. Throws ApiError: 401, or 429 with the time to wait.
  std::string check(const HttpServerRequest& request);

  /// Begins a page's session for the person who knows `key`: the value of Set-Cookie. Throws ApiError as check() does,
  /// and as Database does.
  std::string login(const HttpServerRequest& request, const std::string& key);
  /// Ends the session that the request bears, if there is one: the value of Set-Cookie that takes the cookie away.
  std::string logout(const HttpServerRequest& request);
  /// The request's session lasts from now on: the value of Set-Cookie; nullopt: it bears none.
  std::optional<std::string> renew(const HttpServerRequest& request);

  /// Called when a session has ended by logout, or keys have changed: streams that were begun before must be ended.
  /// Set before the first request; any thread calls it; it must not throw or wait.
  void on_ended(std::function<void()> ended) { ended_ = std::move(ended); }
  KeyCounters counters() const;

 private:
  /// The session's token in a request's cookies, if it is one; its key's name.
  std::optional<std::string> session_of(const HttpServerRequest& request, std::string* key_name = nullptr);
  /// The key's name. Throws ApiError.
  KeyRing::Key checked(const HttpServerRequest& request, std::string_view key);
  void refresh();
  void count(KeyFailure failure) { ++failures_[static_cast<size_t>(failure)]; }

  const std::vector<std::string> host_names_;
  PageSessions sessions_;
  std::function<void()> ended_ = [] {};
  std::array<std::atomic<uint64_t>, kKeyFailures> failures_{};
  std::atomic<uint64_t> logins_ = 0;
  mutable std::mutex mutex_;  // of what follows
  KeyRing keys_;
  GuessLimiter limiter_;
};

/// The routes of the API that are answered without a key: whether the server lives, and takes requests.
inline constexpr std::array<std::string_view, 2> kOpenRoutes = {"/health", "/ready"};

/// Whether a request is answered without a key: whether the server lives, the page's own files, its login and logout.
bool needs_no_key(const HttpServerRequest& request);

/// The name of the session's cookie: with the port that the page was asked at, for browsers give a cookie to all ports
/// of a machine, and servers on two of them must not log each other out.
std::string session_cookie_name(const HttpServerRequest& request);

}  // namespace fathom
