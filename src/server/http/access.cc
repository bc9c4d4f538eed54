#include "server/http/access.h"

#include <algorithm>

#include "server/http/target.h"

namespace fathom::http {
namespace {

bool contains(const std::vector<std::string>& list, std::string_view word) {
  return std::any_of(list.begin(), list.end(),
                     [&](const std::string& entry) { return entry == "*" || same_letters(entry, word); });
}

/// Whether the page comes from this server: its origin is "scheme://" and what the Host header says.
bool same_origin(std::string_view origin, std::string_view host) {
  for (const std::string_view scheme : {"http://", "https://"})
    if (origin.starts_with(scheme)) return same_letters(origin.substr(scheme.size()), host);
  return false;
}

/// Whether a browser sends such a body for any page without a preflight.
bool simple_body(const HttpServerRequest& request) {
  const auto type = request.header("Content-Type");
  if (!type) return true;
  const std::string_view essence = trimmed(type->substr(0, type->find(';')), kBlank);
  return same_letters(essence, "application/x-www-form-urlencoded") || same_letters(essence, "multipart/form-data") ||
         same_letters(essence, "text/plain") || essence.find('/') == std::string_view::npos;
}

}  // namespace

void check_access(const HttpServerRequest& request, const std::string& host, const HttpServerOptions& options,
                  bool loopback) {
  if (!host.empty() && (loopback || !options.allowed_hosts.empty())) {
    const std::string name = host_name(host);
    const bool ours = name == "localhost" || name == "127.0.0.1" || name == "[::1]" || name == options.host;
    if (!ours && !contains(options.allowed_hosts, name) && !contains(options.allowed_hosts, host))
      throw Refused(403,
                    cat("the header Host: expected a name of this server (localhost, or one of the allowed hosts), "
                        "found \"",
                        host, "\""));
  }
  const auto origin = request.header("Origin");
  if (!origin || same_origin(*origin, host) || contains(options.cors, *origin)) return;
  if (request.method == "GET" || request.method == "HEAD" || request.method == "OPTIONS") return;
  if (simple_body(request))
    throw Refused(403,
                  "the header Origin: a page of another origin may not send this; expected Content-Type "
                  "application/json, or an origin that is allowed");
}

bool is_preflight(const HttpServerRequest& request) {
  return request.method == "OPTIONS" && request.header("Origin") && request.header("Access-Control-Request-Method");
}

HttpHeaders cors_headers(const HttpServerRequest& request, const HttpServerOptions& options) {
  HttpHeaders out;
  if (options.cors.empty()) return out;
  const bool all = std::find(options.cors.begin(), options.cors.end(), "*") != options.cors.end();
  if (!all) out.emplace_back("Vary", "Origin");
  const auto origin = request.header("Origin");
  if (!origin || !contains(options.cors, *origin)) return out;
  out.emplace_back("Access-Control-Allow-Origin", all ? "*" : std::string(*origin));
  if (!is_preflight(request)) {
    out.emplace_back("Access-Control-Expose-Headers", "*");
    return out;
  }
  out.emplace_back("Access-Control-Allow-Methods", "GET, HEAD, POST, PUT, PATCH, DELETE");
  // "*" does not cover Authorization; so what is asked for is allowed by name.
  if (const auto wanted = request.header("Access-Control-Request-Headers"))
    out.emplace_back("Access-Control-Allow-Headers", *wanted);
  if (request.header("Access-Control-Request-Private-Network"))
    out.emplace_back("Access-Control-Allow-Private-Network", "true");
  out.emplace_back("Access-Control-Max-Age", "600");
  return out;
}

}  // namespace fathom::http
