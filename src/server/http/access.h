// Who may call: the Host rule against DNS rebinding and the rules for web pages of other origins (http.h says why).
// Called by connection.cc for every head, before the body is read. Thread-safe: no state. Source: the Fetch standard.
#pragma once
#include <string>

#include "server/http/http.h"

namespace fathom::http {

/// Throws Refused (403) where the Host header, or the Origin header of a simple request, is not allowed.
///   host: as RequestParser::host(); loopback: the server listens on loopback only.
void check_access(const HttpServerRequest& request, const std::string& host, const HttpServerOptions& options,
                  bool loopback);

/// Whether this is a browser's question whether a page of another origin may send a request.
bool is_preflight(const HttpServerRequest& request);

/// The headers that let the page which sent `request` read the answer (and, for a preflight, send what it asked for):
/// Vary where origins are listed; nothing else for pages that are not allowed and requests that come from no page.
HttpHeaders cors_headers(const HttpServerRequest& request, const HttpServerOptions& options);

}  // namespace fathom::http
