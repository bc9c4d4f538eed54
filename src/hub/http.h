// HTTP GET over libcurl's multi interface: any number of transfers, all on the thread that calls poll(). Redirects are
// followed here and not by libcurl, so that one rule decides who sees the token: the endpoint's own scheme, host and
// port, and nobody else. Called by hub/repository.cc and hub/download.cc. One thread per client.
#pragma once
#include <chrono>
#include <cstdint>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace fathom {

/// The hub's address, checked and taken apart.
struct Endpoint {
  std::string url;     ///< without a slash at its end
  std::string origin;  ///< "https://huggingface.co:443"
  bool secure = true;  ///< https
  bool loopback = false;

  /// An http or https address without user, query or fragment. Throws UsageError naming it.
  static Endpoint parse(const std::string& text);
};

/// "scheme://host:port" of an address, or nullopt where it is none of http or https.
std::optional<std::string> origin_of(const std::string& url);
/// An address without its query, which may hold a signature: for messages and the log.
std::string shown_url(const std::string& url);

struct HttpReply {
  int status = 0;                              ///< 0: no reply came
  std::map<std::string, std::string> headers;  ///< of the last hop; names in lower case
  std::map<std::string, std::string> linked;   ///< the X-Linked-* and X-Repo-* headers, of any hop
  std::string url;                             ///< of the last hop
  std::string problem;                         ///< what broke the transfer; empty: the reply is whole
  bool temporary = false;                      ///< a broken transfer that may work the next time
  std::exception_ptr thrown;                   ///< by one of the request's functions, which ended the transfer
  const std::string* header(const std::string& name) const;
};

struct HttpRequest {
  std::string url;
  std::optional<uint64_t> first;                  ///< asks for the bytes from here
  std::optional<uint64_t> last;                   ///< to here, inclusive
  std::string if_range;                           ///< entity tag, or empty
  std::function<void(const HttpReply&)> on_head;  ///< a reply with status 2xx begins; may throw to end the transfer
  std::function<void(std::string_view)> on_body;  ///< a piece of the body of a 2xx; may throw to end the transfer
  std::function<void(const HttpReply&)> on_end;   ///< always called once, from poll(); may throw out of it
};

struct HttpOptions {
  Endpoint endpoint;
  std::string token;       ///< or empty
  std::string ca_file;     ///< certificates to trust, PEM; empty: the system's
  int timeout_s = 60;      ///< to connect, and of silence
  int most_redirects = 5;  ///< per request
};

class HttpClient {
 public:
  explicit HttpClient(HttpOptions options);
  ~HttpClient();
  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;
  const Endpoint& endpoint() const { return options_.endpoint; }
  bool sends_token() const { return !options_.token.empty(); }

  void start(HttpRequest request);
  size_t active() const;
  /// Moves the transfers, calls their functions; returns after `at_most`, or earlier when something happened.
  void poll(std::chrono::milliseconds at_most);
  /// Breaks all transfers off; none of their functions is called any more.
  void stop();

 private:
  struct Transfer;
  struct Multi;
  void begin_hop(Transfer& transfer);
  bool follow(Transfer& transfer);
  void finish(void* easy, int code);
  HttpOptions options_;
  std::unique_ptr<Multi> multi_;
  std::map<void*, std::unique_ptr<Transfer>> transfers_;  // by their libcurl handle
};

}  // namespace fathom
