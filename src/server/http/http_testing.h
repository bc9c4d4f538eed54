// For the tests of the server: a client over plain sockets, which sends exactly the bytes it is given (one thread per
// client), and a server whose requests are answered when a test wants.
#pragma once
#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <condition_variable>
#include <cstdlib>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>

#include "base/error.h"
#include "server/http/http.h"

namespace fathom::testing {

struct HttpReplyText {
  int status = 0;  ///< 0: the connection ended before a whole reply came
  std::string head, body;
  std::map<std::string, std::string> headers;  ///< names in lower case
  bool whole = false;
};

class RawClient {
 public:
  explicit RawClient(uint16_t port) {
    fd_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    connected = connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
  }
  ~RawClient() { close(); }
  RawClient(RawClient&& other) noexcept : connected(other.connected), fd_(std::exchange(other.fd_, -1)) {}
  RawClient(const RawClient&) = delete;
  RawClient& operator=(const RawClient&) = delete;

  void close() {
    if (fd_ >= 0) ::close(std::exchange(fd_, -1));
  }
  void close_sending() { shutdown(fd_, SHUT_WR); }

  /// False where the server has closed the connection.
  bool send(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t n = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (n <= 0) return false;
      bytes.remove_prefix(static_cast<size_t>(n));
    }
    return true;
  }

  /// Waits for more bytes; false at the end of the connection. Fails the test after 20 s.
  bool receive() {
    if (ended_) return false;
    if (!readable(20'000)) {
      ADD_FAILURE() << "the server sends nothing";
      ended_ = true;
      return false;
    }
    char buffer[65536];
    const ssize_t n = recv(fd_, buffer, sizeof buffer, 0);
    if (n <= 0) ended_ = true;
    if (n > 0) input_.append(buffer, static_cast<size_t>(n));
    return n > 0;
  }
  bool readable(int wait_ms) {
    pollfd p{fd_, POLLIN, 0};
    return poll(&p, 1, wait_ms) > 0;
  }
  /// Whether the connection ends now, without a further byte.
  bool at_end() {
    while (receive()) {
    }
    return input_.empty();
  }
  /// Reads until `text` has come; what came up to it, or all if the connection ends before.
  std::string read_through(std::string_view text) {
    size_t at;
    while ((at = input_.find(text)) == std::string::npos && receive()) {
    }
    return take(at == std::string::npos ? input_.size() : at + text.size());
  }
  std::string read_all() {
    while (receive()) {
    }
    return take(input_.size());
  }

  /// One reply: its head and, as the head says, its body. head_only: to a HEAD request.
  HttpReplyText reply(bool head_only = false) {
    HttpReplyText out;
    out.head = read_through("\r\n\r\n");
    if (!out.head.ends_with("\r\n\r\n") || !out.head.starts_with("HTTP/1.1 ")) return out;
    out.status = std::atoi(out.head.c_str() + 9);
    for (size_t at = out.head.find("\r\n") + 2; out.head[at] != '\r'; at = out.head.find("\r\n", at) + 2) {
      const size_t colon = out.head.find(": ", at), end = out.head.find("\r\n", at);
      std::string name = out.head.substr(at, colon - at);
      std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return std::tolower(c); });
      EXPECT_TRUE(out.headers.emplace(name, out.head.substr(colon + 2, end - colon - 2)).second) << name;
    }
    if (head_only || out.status == 204 || out.status < 200) {
      out.whole = true;
    } else if (out.headers.count("content-length")) {
      const size_t length = std::strtoull(out.headers.at("content-length").c_str(), nullptr, 10);
      while (input_.size() < length && receive()) {
      }
      out.whole = input_.size() >= length;
      out.body = take(std::min(length, input_.size()));
    } else if (out.headers.count("transfer-encoding")) {
      for (;;) {
        const std::string line = read_through("\r\n");
        if (line.empty()) return out;
        const size_t size = std::strtoull(line.c_str(), nullptr, 16);
        while (input_.size() < size + 2 && receive()) {
        }
        const std::string chunk = take(std::min(size + 2, input_.size()));
        if (!chunk.ends_with("\r\n")) return out;
        out.body += chunk.substr(0, size);
        if (size == 0) break;
      }
      out.whole = true;
    } else {
      out.body = read_all();
      out.whole = true;
    }
    return out;
  }
  HttpReplyText ask(std::string_view request) {
    send(request);
    return reply();
  }

  bool connected = false;

 private:
  std::string take(size_t bytes) {
    std::string out = input_.substr(0, bytes);
    input_.erase(0, bytes);
    return out;
  }
  int fd_ = -1;
  bool ended_ = false;
  std::string input_;
};

inline const std::string kHost = "Host: localhost\r\n";
inline std::string get(const std::string& path, const std::string& headers = "") {
  return "GET " + path + " HTTP/1.1\r\n" + kHost + headers + "\r\n";
}
inline std::string post(const std::string& path, const std::string& body, const std::string& headers = "") {
  return "POST " + path + " HTTP/1.1\r\n" + kHost + "Content-Length: " + std::to_string(body.size()) + "\r\n" +
         headers + "\r\n" + body;
}

struct Call {
  HttpServerRequest request;
  std::shared_ptr<Responder> responder;
};

/// Requests that tests answer when they want to.
class Calls {
 public:
  void put(Call call) {
    const std::lock_guard lock(mutex_);
    calls_.push_back(std::move(call));
    come_.notify_all();
  }
  Call take() {
    std::unique_lock lock(mutex_);
    if (!come_.wait_for(lock, std::chrono::seconds(20), [&] { return !calls_.empty(); })) {
      ADD_FAILURE() << "no request came";
      return {};
    }
    Call call = std::move(calls_.front());
    calls_.pop_front();
    return call;
  }

 private:
  std::mutex mutex_;
  std::condition_variable come_;
  std::deque<Call> calls_;
};

/// A server whose /echo answers at once with what came, and whose other paths wait in `calls`.
struct TestServer {
  Calls calls;
  HttpServer server;

  explicit TestServer(HttpServerOptions options = {})
      : server(std::move(options), [this](HttpServerRequest request, std::shared_ptr<Responder> responder) {
          if (request.path == "/error") throw Error("the thing: expected \"a\"");
          if (request.path == "/full") throw ResourceError("no memory");
          if (request.path == "/bug") throw std::runtime_error("a secret");
          if (request.path == "/forget") return;
          if (request.path != "/echo") return calls.put({std::move(request), std::move(responder)});
          responder->send(200, "text/plain", request.method + " " + request.query + " " + request.body);
        }) {
    server.start();
  }
  RawClient client() const { return RawClient(server.port()); }
};

}  // namespace fathom::testing
