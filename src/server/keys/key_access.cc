#include "server/keys/key_access.h"

#include <algorithm>
#include <chrono>
#include <ctime>

#include "base/error.h"
#include "base/log.h"
#include "server/api/api.h"
#include "server/api/error.h"
#include "server/app/app_access.h"
#include "server/app/web_files.h"
#include "server/http/target.h"

namespace fathom {
namespace {

constexpr size_t kMostCookies = 8;  // of the session's name; other servers of the machine may have set some

ApiError unauthorized(const std::string& message, const char* code) {
  ApiError error(401, message, "authentication_error", std::nullopt, code);
  error.authenticate = R"(Bearer realm="fathom")";
  return error;
}

/// The key that a request bears; nullopt: none. Another scheme of Authorization is somebody else's (a proxy's).
std::optional<std::string_view> key_in(const HttpServerRequest& request) {
  if (const auto given = request.header("Authorization")) {
    const size_t space = std::min(given->find(' '), given->size());
    if (http::same_letters(given->substr(0, space), "Bearer")) return trimmed(given->substr(space), http::kBlank);
  }
  return request.header("x-api-key");
}

/// The values of the cookies of that name.
std::vector<std::string> cookies(const HttpServerRequest& request, const std::string& name) {
  std::vector<std::string> out;
  for (const auto& [header, value] : request.headers) {
    if (!http::same_letters(header, "Cookie")) continue;
    for (std::string_view rest = value; !rest.empty() && out.size() < kMostCookies;) {
      const size_t end = std::min(rest.find(';'), rest.size());
      const std::string_view pair = trimmed(rest.substr(0, end), http::kBlank);
      rest.remove_prefix(std::min(end + 1, rest.size()));
      if (pair.size() > name.size() && pair.starts_with(name) && pair[name.size()] == '=')
        out.emplace_back(pair.substr(name.size() + 1));
    }
  }
  return out;
}

/// Whether the page came by TLS: it says so itself by its origin (it alone would be harmed by a lie), or a proxy on
/// this machine does.
bool by_https(const HttpServerRequest& request) {
  if (request.header("Origin").value_or("").starts_with("https://")) return true;
  return is_loopback(request.peer) && request.header("X-Forwarded-Proto").value_or("") == "https";
}

std::string set_cookie(const HttpServerRequest& request, std::string_view token, int64_t age_s) {
  return cat(session_cookie_name(request), "=", token, "; Path=/; HttpOnly; SameSite=Strict; Max-Age=", age_s,
             by_https(request) ? "; Secure" : "");
}

int64_t now_s() { return std::time(nullptr); }

std::string address_of(const HttpServerRequest& request) {
  return guessing_address(request.peer, request.header("X-Forwarded-For").value_or(""));
}

}  // namespace

bool needs_no_key(const HttpServerRequest& request) {
  if (request.method == "POST") return request.path == "/app/api/login" || request.path == "/app/api/logout";
  if (request.method != "GET" && request.method != "HEAD") return false;
  return std::ranges::find(kOpenRoutes, bare(request.path)) != kOpenRoutes.end() || is_web_file(request.path);
}

std::string session_cookie_name(const HttpServerRequest& request) {
  const std::string_view host = request.header("Host").value_or("");
  const size_t colon = host.rfind(':');
  const bool port = colon != std::string_view::npos && host.find(']', colon) == std::string_view::npos;
  return port ? cat("fathom_session_", host.substr(colon + 1)) : "fathom_session";
}

KeyAccess::KeyAccess(KeyRing keys, std::shared_ptr<Database> store, std::vector<std::string> host_names)
    : host_names_(std::move(host_names)), sessions_(std::move(store)), keys_(std::move(keys)) {}

void KeyAccess::refresh() {
  bool changed = false;
  {
    const std::lock_guard lock(mutex_);
    changed = keys_.refresh();
  }
  if (changed) ended_();
}

KeyRing::Key KeyAccess::checked(const HttpServerRequest& request, std::string_view text) {
  const std::string address = address_of(request);
  const auto now = std::chrono::steady_clock::now();
  int wait_s = 0;
  bool looked_at = true;
  {
    const std::lock_guard lock(mutex_);
    const KeyRing::Key* key = keys_.find(text);
    wait_s = limiter_.wait_s(address, now);
    looked_at = wait_s == 0 || (key && limiter_.knows(address, key->digest));
    if (looked_at && key) {
      limiter_.worked(address, key->digest);
      return *key;
    }
    if (looked_at) {
      limiter_.failed(address, now);
      wait_s = limiter_.wait_s(address, now);
    }
  }
  if (!looked_at) {
    count(KeyFailure::kLimited);
    ApiError error(429, cat("too many wrong keys from this address: try again in ", wait_s, " s"), "rate_limit_error",
                   std::nullopt, "too_many_wrong_keys");
    error.retry_after_s = wait_s;
    throw error;
  }
  count(KeyFailure::kWrong);
  log(LogLevel::kWarning, cat("request ", request.id, ": a wrong key from ", address,
                              wait_s > 0 ? "; more of them are refused for a while" : ""));
  throw unauthorized("the key is wrong: expected one of this server's", "invalid_api_key");
}

std::optional<std::string> KeyAccess::session_of(const HttpServerRequest& request, std::string* key_name) {
  for (const std::string& token : cookies(request, session_cookie_name(request))) {
    const std::lock_guard lock(mutex_);
    const KeyRing::Key* key = sessions_.find(token, keys_, now_s());
    if (!key) continue;
    if (key_name) *key_name = key->name;
    return token;
  }
  return std::nullopt;
}

std::string KeyAccess::check(const HttpServerRequest& request) {
  refresh();
  if (const auto key = key_in(request)) return checked(request, *key).name;
  std::string name;
  if (session_of(request, &name)) {
    check_app_access(request, host_names_, /*json_only=*/false);  // a cookie comes along with any page's requests
    return name;
  }
  const bool over = !cookies(request, session_cookie_name(request)).empty();
  count(over ? KeyFailure::kSession : KeyFailure::kMissing);
  throw unauthorized(over ? "the session is over: log in again"
                          : "this server needs a key: Authorization: Bearer KEY, or x-api-key: KEY",
                     over ? "session_over" : "missing_api_key");
}

std::string KeyAccess::login(const HttpServerRequest& request, const std::string& key) {
  refresh();
  const std::string token = sessions_.begin(checked(request, key), now_s());
  ++logins_;
  return set_cookie(request, token, PageSessions::kAgeSeconds);
}

std::string KeyAccess::logout(const HttpServerRequest& request) {
  bool any = false;
  for (const std::string& token : cookies(request, session_cookie_name(request))) any = sessions_.end(token) || any;
  if (any) ended_();
  return set_cookie(request, "", 0);
}

std::optional<std::string> KeyAccess::renew(const HttpServerRequest& request) {
  const std::optional<std::string> token = session_of(request);
  if (!token) return std::nullopt;
  sessions_.renew(*token, now_s());
  return set_cookie(request, *token, PageSessions::kAgeSeconds);
}

KeyCounters KeyAccess::counters() const {
  KeyCounters out;
  for (size_t i = 0; i < kKeyFailures; ++i) out.failures[i] = failures_[i];
  out.logins = logins_;
  out.sessions = sessions_.count();
  return out;
}

}  // namespace fathom
