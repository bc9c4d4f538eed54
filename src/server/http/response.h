// The bytes of answers: status lines, heads and the error body. Called by exchange.cc and connection.cc. Thread-safe:
// no state.
#pragma once
#include <string>
#include <string_view>

#include "server/http/http.h"

namespace fathom::http {

/// "OK" for 200; "" for numbers without a name.
std::string_view reason_phrase(int status);
/// Whether answers of this status have a body (1xx, 204 and 304 have none).
bool has_body(int status);

/// Status line, Date and `headers`, without the empty line at the end: framing follows (add_header, then CR LF).
std::string response_head(int status, const HttpHeaders& headers);
/// Appends one header. Control characters in the value become spaces: values may hold text from outside (R12).
void add_header(std::string& head, std::string_view name, std::string_view value);

/// {"error":{"message","type","param":null,"code":null}}: type invalid_request_error below 500, server_error from
/// there.
std::string error_body(int status, std::string_view message);

/// 24 hexadecimal digits that nobody can guess.
std::string new_request_id();
/// Whether a client's X-Request-Id may be used and written to logs: 1 to 64 of [A-Za-z0-9._-].
bool sane_request_id(std::string_view id);

}  // namespace fathom::http
