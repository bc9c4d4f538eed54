// The server's HTTP layer without its sockets.
#include <algorithm>
#include <vector>

#include "base/error.h"
#include "server/http/access.h"
#include "server/http/exchange.h"
#include "server/http/inflate.h"
#include "server/http/request_parser.h"
#include "server/http/sse.h"
#include "tests/fuzz/targets.h"
#include "text/utf8.h"

namespace fathom::fuzz {
namespace {
using namespace http;

constexpr RequestLimits kLimits{.header_bytes = 1000, .headers = 30, .body_bytes = 1500};

/// What a connection made of its bytes.
struct Seen {
  std::vector<HttpServerRequest> requests;
  std::string refusal;  ///< of the one behind them; "": the bytes ended first
};

/// As a connection does: request after request, `cut` bytes at a time.
Seen read_all(std::string_view bytes, size_t cut) {
  Seen seen;
  try {
    while (!bytes.empty()) {
      RequestParser parser(kLimits);
      while (!parser.done() && !bytes.empty()) {
        const size_t used = parser.feed(bytes.substr(0, cut));
        check(used > 0, "the parser takes nothing");
        bytes.remove_prefix(used);
      }
      if (parser.done()) seen.requests.push_back(std::move(parser.request()));
    }
  } catch (const Refused& refused) {
    check(refused.status() >= 400 && refused.status() < 600, "a refusal's status");
    seen.refusal = cat(refused.status(), refused.what());
  }
  return seen;
}

bool has_line_break(std::string_view text) { return text.find_first_of(std::string_view("\r\n\0", 3)) != text.npos; }

/// An answer that repeats what came, as a careless handler would.
void answer(const HttpServerRequest& request, const HttpServerOptions& options) {
  AnswerRules rules{.headers = cors_headers(request, options), .max_queued_bytes = 100'000};
  Exchange exchange(std::move(rules), [] {});
  const size_t own = cors_headers(request, options).size();
  exchange.send(200, request.body, "", {{"X-Path", request.path}, {"X-Body", request.body}});
  std::string out;
  check(exchange.take(out), "a whole answer is not complete");
  // The status line, Date, the two above, Content-Type unless empty, Content-Length, the empty line; no others.
  const size_t lines = 6 + (request.body.empty() ? 0 : 1) + own;
  check(static_cast<size_t>(std::count(out.begin(), out.end(), '\n')) == lines &&
            static_cast<size_t>(std::count(out.begin(), out.end(), '\r')) == lines && out.ends_with("\r\n\r\n"),
        "text from outside makes a line of a head");
  const std::string event = sse_event(request.body, request.query);
  check(event.ends_with("\n\n") && event.find("\n\n") == event.size() - 2 && event.find('\r') == std::string::npos,
        "text from outside ends an event");
}

void use(HttpServerRequest request) {
  check(request.path == "*" || request.path.starts_with('/'), "a path without its /");
  check(!has_line_break(request.path) && valid_utf8_prefix(request.path) == request.path.size(), "a broken path");
  for (const auto& [name, value] : request.headers)
    check(!name.empty() && !has_line_break(name) && !has_line_break(value), "a header with a line break");
  check(request.body.size() <= kLimits.body_bytes, "a body beyond its bound");
  (void)query_value(request.query, "a");
  const HttpServerOptions options{.cors = {"https://app.example"}, .allowed_hosts = {"api.example"}};
  try {
    check_access(request, std::string(request.header("Host").value_or("")), options, true);
    const std::string coding(request.header("Content-Encoding").value_or(""));
    if (is_compressed(coding)) {
      Inflater inflater(coding, std::move(request.body), kLimits.body_bytes);
      while (!inflater.step(100)) check(inflater.bytes() <= 2 * kLimits.body_bytes + 1, "a bomb went off");
      request.body = inflater.take();
      check(request.body.size() <= kLimits.body_bytes, "a decompressed body beyond its bound");
    }
  } catch (const Refused&) {
    return;
  }
  answer(request, options);
}

}  // namespace

void http_request(std::string_view input) {
  if (input.empty()) return;
  const size_t cut = 1 + static_cast<uint8_t>(input[0]) % 40;
  const std::string_view bytes = input.substr(1);
  Seen whole = read_all(bytes, bytes.size()), pieces = read_all(bytes, cut);
  check(whole.refusal == pieces.refusal && whole.requests.size() == pieces.requests.size(), "the cuts matter");
  for (size_t i = 0; i < whole.requests.size(); ++i) {
    const HttpServerRequest &a = whole.requests[i], &b = pieces.requests[i];
    check(a.method == b.method && a.path == b.path && a.query == b.query && a.headers == b.headers && a.body == b.body,
          "a request depends on the cuts");
    use(std::move(whole.requests[i]));
  }
}

}  // namespace fathom::fuzz
