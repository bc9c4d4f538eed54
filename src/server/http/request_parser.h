// Bytes to requests, strictly: what has two readings is refused. Refused with 400 are bare LF and CR, NUL and other
// control characters, obsolete line folding, white space before a colon, several of the headers that say how to read or
// trust a request (Host, Content-Length, Transfer-Encoding, Content-Type, Content-Encoding, Origin, Authorization), a
// length next to chunks, any transfer coding but "chunked", chunk sizes that are negative or overflow. Limits: 413,
// 414, 431. (Boost.Beast 1.81's parser was tried first: it takes folded lines, "Content-Length: 1, 1", several Hosts,
// reads "Transfer-Encoding: xchunked" as a request without body, and sets no bound to chunk extensions or header
// counts.) One thread; knows no sockets. Called by connection.cc. Source: RFC 9110, RFC 9112.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "server/http/http.h"
#include "server/http/target.h"

namespace fathom::http {

struct RequestLimits {
  size_t header_bytes = size_t{64} << 10;
  size_t headers = 200;
  size_t body_bytes = size_t{64} << 20;
};

class RequestParser {
 public:
  explicit RequestParser(const RequestLimits& limits) : limits_(limits) {}

  /// Takes bytes of the connection and returns how many it used: it stops behind the head, so that the caller can judge
  /// it before the body comes, and behind the request. Throws Refused; the parser is then of no use any more.
  size_t feed(std::string_view bytes);

  /// Something of a request has come; empty lines in front of it are nothing.
  bool begun() const { return state_ != State::kRequestLine || line_.find_first_not_of("\r\n") != std::string::npos; }
  bool head_done() const { return state_ > State::kHeaders; }
  bool done() const { return state_ == State::kDone; }
  bool http10() const { return minor_ == 0; }
  bool keep_alive() const { return keep_alive_; }              ///< what the client wants; valid from head_done() on
  bool expects_continue() const { return expects_continue_; }  ///< it sends no body before it sees 100
  const std::string& host() const { return host_; }            ///< "name:port"; empty only for HTTP/1.0
  /// From head_done() on without body, id and peer; the body is there when done().
  HttpServerRequest& request() { return request_; }

 private:
  enum class State { kRequestLine, kHeaders, kFixedBody, kChunkSize, kChunkData, kChunkEnd, kTrailer, kDone };

  size_t take_line(std::string_view bytes);
  size_t take_body(std::string_view bytes);
  void on_line(std::string_view line);
  void on_request_line(std::string_view line);
  void on_field(std::string_view line);
  void on_head_end();
  void on_chunk_size(std::string_view line);
  /// The only header of that name, or nullopt. Throws Refused if there are several.
  std::optional<std::string_view> single(std::string_view name) const;

  RequestLimits limits_;
  HttpServerRequest request_;
  std::string line_;  // the part of the current line that has come
  std::string host_;
  State state_ = State::kRequestLine;
  int minor_ = 1;
  bool keep_alive_ = true, expects_continue_ = false;
  size_t head_bytes_ = 0, fields_ = 0, extension_bytes_ = 0;
  uint64_t left_ = 0;  // of the body or of the current chunk
};

}  // namespace fathom::http
