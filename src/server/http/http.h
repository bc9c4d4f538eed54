// The HTTP server under `fathom serve`: HTTP/1.1 and 1.0 over TCP, one request at a time per connection, whole answers
// and streams. server/ gives it one function, the handler; what a request means is decided there. Requests are hostile:
// everything that a client sends is bounded in bytes and in time, and what is not exactly HTTP is refused with 400 and
// the connection closed (request_parser.h), so that no proxy in front can understand it otherwise than we do.
//
// A browser is a client that any web page can command. Three rules keep pages away from a server on loopback:
//   - Host: a server that listens on loopback answers only to the names of loopback and to allowed_hosts (else 403). A
//     page whose own name was made to point to 127.0.0.1 (DNS rebinding) sends its own name there.
//   - CORS: a page of another origin can read an answer only if `cors` names it; then preflights are answered here.
//   - "Simple" requests, which browsers send without asking first (POST of a form, of text/plain or without a type),
//     are refused with 403 if they bear the Origin of a page that `cors` does not name: the page could not read the
//     answer, but the work would be done. Bodies that say application/json are never simple.
//
// Threads: the I/O threads are the server's own; the handler runs on them. A Responder may be called by any thread.
#pragma once
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace fathom {

using HttpHeaders = std::vector<std::pair<std::string, std::string>>;

struct HttpServerRequest {
  std::string method;   ///< as sent: methods are case-sensitive
  std::string path;     ///< decoded, valid UTF-8 without control characters, begins with '/' ("*" for OPTIONS *)
  std::string query;    ///< behind the '?', as sent
  HttpHeaders headers;  ///< in the order they came; at most one each of those that say how to read or trust a request
  std::string body;     ///< whole, with transfer and content encoding undone; any bytes
  std::string id;       ///< X-Request-Id if that is 1 to 64 of [A-Za-z0-9._-], else made; every answer bears it
  std::string peer;     ///< address and port of the client

  /// The first header of that name (in any case).
  std::optional<std::string_view> header(std::string_view name) const;
};

/// The answer to one request. It is either whole: send(), or a stream: begin(), write()..., end(). Any thread may call,
/// one of them at a time has the say over the order. Nothing blocks: what the client has not yet read is queued. When
/// the client is gone, and when the answer is complete, further calls do nothing. An answer that is forgotten (the last
/// reference dropped before it was complete) becomes a 500, or the connection is cut if it had begun. For HEAD,
/// handlers do as for GET: the body is left out here.
class Responder {
 public:
  Responder() = default;
  virtual ~Responder() = default;
  Responder(const Responder&) = delete;
  Responder& operator=(const Responder&) = delete;

  /// The whole answer, with its Content-Length. Control characters in header values become spaces.
  virtual void send(int status, std::string_view content_type, std::string body, HttpHeaders headers = {}) = 0;
  /// Begins a stream: in chunks for HTTP/1.1, up to the end of the connection for HTTP/1.0.
  virtual void begin(int status, std::string_view content_type, HttpHeaders headers = {}) = 0;
  /// Queues a piece of the stream. If more than max_queued_bytes would wait for the client, the connection is cut.
  virtual void write(std::string data) = 0;
  /// The stream is complete.
  virtual void end() = 0;

  /// Whenever nothing was written for `interval`, `text` is sent, so that nobody on the way gives the connection up:
  /// a stream gets it as a piece of its own (an SSE comment). Before an answer has begun, the first text begins it,
  /// with status 200 and application/json: text must then be white space, and a later send() brings its body only, its
  /// status and headers do not reach the client any more (begun() tells). That is what DeepSeek's server does. An
  /// answer that will be a stream begins before it asks for this. 0 ends it, and so does the end of the answer.
  virtual void heartbeat(std::chrono::milliseconds interval, std::string text) = 0;
  /// `gone` is called once, on an I/O thread, if the client goes away or is cut off before the answer is complete;
  /// at once and by this call if that has happened already. Not after send() or end() has completed the answer. A
  /// client that only closes its sending side counts as gone. `gone` must not hold a reference to this object.
  virtual void on_close(std::function<void()> gone) = 0;

  virtual bool begun() const = 0;           ///< the status is on its way
  virtual bool closed() const = 0;          ///< the client is gone or was cut off
  virtual size_t queued_bytes() const = 0;  ///< what the system has not yet taken
};

/// Called on an I/O thread: returns quickly and answers now or later. If it throws: Error is 400 with its text,
/// ResourceError 503 with its text, any other std::exception 500 without details (they go to the log).
using HttpHandler = std::function<void(HttpServerRequest, std::shared_ptr<Responder>)>;

struct HttpServerOptions {
  using Ms = std::chrono::milliseconds;
  std::string host = "127.0.0.1";  ///< a name or an address; "0.0.0.0" or "::" for all
  uint16_t port = 0;               ///< 0: the system chooses
  int io_threads = 1;

  size_t max_header_bytes = size_t{64} << 10;  ///< of a request's head, and of a chunked body's trailer
  size_t max_headers = 200;
  size_t max_body_bytes = size_t{64} << 20;     ///< as sent, and again as decompressed
  size_t max_buffered_bytes = size_t{1} << 30;  ///< of bodies on their way in, all connections together; else 503
  size_t max_queued_bytes = size_t{16} << 20;   ///< of one stream
  size_t max_connections = 4096;                ///< beyond them 503 with Retry-After; fewer if files run short

  Ms header_timeout{10'000};               ///< for a whole head, from the connection or its first byte
  Ms body_idle_timeout{30'000};            ///< between two pieces of a body
  size_t min_body_rate = 1024;             ///< bytes a second, on average, after body_idle_timeout
  Ms keep_alive_timeout{75'000};           ///< between two requests
  Ms write_idle_timeout{60'000};           ///< the client reads nothing of what waits for it
  Ms drain_timeout{30'000};                ///< see drain()
  std::vector<std::string> cors;           ///< origins whose pages may call; "*": all
  std::vector<std::string> allowed_hosts;  ///< names besides loopback's; elsewhere, if not empty, the only ones
};

/// What happened since the start; `open` is now.
struct HttpCounters {
  uint64_t open = 0, accepted = 0, turned_away = 0;  ///< connections
  uint64_t requests = 0;                             ///< given to the handler
  uint64_t refused = 0;                              ///< answered with an error before the handler
  uint64_t cut = 0;  ///< answers broken off: read too slowly, or given up by the handler
  uint64_t bytes_in = 0, bytes_out = 0;
};

class HttpServer {
 public:
  /// Binds and listens; connections wait until start(). Throws Error naming the address and the system's reason.
  HttpServer(HttpServerOptions options, HttpHandler handler);
  ~HttpServer();  ///< stop()
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  uint16_t port() const;
  std::string address() const;  ///< "127.0.0.1:8000", "[::1]:8000"
  bool loopback() const;        ///< only this machine can reach it

  void start();
  /// Stops accepting, closes connections that wait for a request, lets answers that run be completed and returns when
  /// all are, or cuts what is left after drain_timeout and returns false. Not from an I/O thread.
  bool drain();
  /// Cuts everything off and ends the threads. Not from an I/O thread. Responders may outlive the server.
  void stop();

  HttpCounters counters() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// The value of `key` in a query ("a=1&b=2"), decoded ('+' is a space); nullopt where it is absent or badly encoded.
std::optional<std::string> query_value(std::string_view query, std::string_view key);

}  // namespace fathom
