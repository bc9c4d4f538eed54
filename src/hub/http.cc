#include "hub/http.h"

#include <curl/curl.h>

#include <algorithm>

#include "base/error.h"
#include "base/log.h"
#include "hub/headers.h"

namespace fathom {
namespace {

constexpr long kLeastBytesPerSecond = 100;
constexpr size_t kMostHeaders = 200, kMostHeaderBytes = 16384;
constexpr uint64_t kMostBodyOfError = 1 << 20;

struct UrlDeleter {
  void operator()(CURLU* url) const { curl_url_cleanup(url); }
};
using Url = std::unique_ptr<CURLU, UrlDeleter>;

Url parse_url(const std::string& text) {
  Url url(curl_url());
  if (!url || curl_url_set(url.get(), CURLUPART_URL, text.c_str(), 0) != CURLUE_OK) return nullptr;
  return url;
}

std::string part(const Url& url, CURLUPart which, unsigned flags = 0) {
  char* text = nullptr;
  if (curl_url_get(url.get(), which, &text, flags) != CURLUE_OK) return "";
  std::string out = text;
  curl_free(text);
  return out;
}

bool is_loopback(std::string_view host) {
  return host == "localhost" || host == "[::1]" ||
         (host.starts_with("127.") && host.find_first_not_of("0123456789.") == std::string_view::npos);
}

/// libcurl asks to be started once, before its first use.
void start_curl() {
  static const CURLcode started = curl_global_init(CURL_GLOBAL_DEFAULT);
  if (started != CURLE_OK) throw Error("libcurl did not start");
}

bool is_redirect(int status) {
  return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

/// What no repetition changes: wrong addresses, certificates that do not hold, our own refusals.
bool is_final(CURLcode code) {
  return code == CURLE_URL_MALFORMAT || code == CURLE_UNSUPPORTED_PROTOCOL || code == CURLE_PEER_FAILED_VERIFICATION ||
         code == CURLE_SSL_CACERT_BADFILE || code == CURLE_SSL_CERTPROBLEM || code == CURLE_WEIRD_SERVER_REPLY ||
         code == CURLE_OUT_OF_MEMORY;
}

}  // namespace

struct HttpClient::Multi {
  CURLM* handle = curl_multi_init();
  ~Multi() { curl_multi_cleanup(handle); }
};

struct HttpClient::Transfer {
  HttpRequest request;
  HttpReply reply;
  CURL* easy = curl_easy_init();
  curl_slist* headers = nullptr;
  char error[CURL_ERROR_SIZE] = {};
  int redirects = 0;
  bool head_seen = false, enough = false;
  uint64_t discarded = 0;
  size_t header_count = 0;

  ~Transfer() {
    curl_easy_cleanup(easy);
    curl_slist_free_all(headers);
  }
  bool succeeds() const { return reply.status >= 200 && reply.status < 300; }
  void begin_body() {
    if (head_seen || !succeeds()) return;
    head_seen = true;
    if (request.on_head) request.on_head(reply);
  }
  void header(std::string_view line);
  void body(std::string_view bytes);
};

void HttpClient::Transfer::header(std::string_view line) {
  while (line.ends_with('\n') || line.ends_with('\r')) line.remove_suffix(1);
  if (line.starts_with("HTTP/")) {
    const size_t space = line.find(' ');
    reply.status = static_cast<int>(decimal(line.substr(std::min(space, line.size() - 1) + 1, 3)).value_or(0));
    reply.headers.clear();
    return;
  }
  const size_t colon = line.find(':');
  if (colon == std::string_view::npos) return;
  if (++header_count > kMostHeaders || line.size() > kMostHeaderBytes)
    throw Error(cat(shown_url(reply.url), ": expected at most ", kMostHeaders, " headers of at most ", kMostHeaderBytes,
                    " bytes, found more"));
  std::string name(line.substr(0, colon)), value(line.substr(colon + 1));
  for (char& c : name)
    if (c >= 'A' && c <= 'Z') c += 'a' - 'A';
  value.erase(0, value.find_first_not_of(" \t"));
  if (name.starts_with("x-linked-") || name.starts_with("x-repo-")) reply.linked[name] = value;
  reply.headers[name] = std::move(value);
}

void HttpClient::Transfer::body(std::string_view bytes) {
  if (succeeds()) {
    begin_body();
    if (request.on_body) request.on_body(bytes);
    return;
  }
  discarded += bytes.size();  // the page of an error or of a redirect: nobody reads it
  enough = discarded > kMostBodyOfError;
}

namespace {

/// Runs a step of libcurl's callbacks: exceptions must not pass through C, they end the transfer instead.
template <class T, class F>
size_t guarded(T& transfer, size_t size, const F& step) {
  try {
    step();
  } catch (...) {
    transfer.reply.thrown = std::current_exception();
  }
  return transfer.reply.thrown || transfer.enough ? 0 : size;
}

template <class T>
size_t on_header(char* data, size_t one, size_t size, void* transfer) {
  T& t = *static_cast<T*>(transfer);
  return guarded(t, one * size, [&] { t.header({data, one * size}); });
}

template <class T>
size_t on_data(char* data, size_t one, size_t size, void* transfer) {
  T& t = *static_cast<T*>(transfer);
  return guarded(t, one * size, [&] { t.body({data, one * size}); });
}

}  // namespace

Endpoint Endpoint::parse(const std::string& text) {
  const Url url = parse_url(text);
  const std::string scheme = url ? part(url, CURLUPART_SCHEME) : "";
  const bool has_more = url && (!part(url, CURLUPART_USER).empty() || !part(url, CURLUPART_PASSWORD).empty() ||
                                !part(url, CURLUPART_QUERY).empty() || !part(url, CURLUPART_FRAGMENT).empty());
  if ((scheme != "http" && scheme != "https") || has_more || text.find("://") == std::string::npos)
    throw UsageError(cat("endpoint: expected an http or https address without user, password and query, found '",
                         has_more ? cat(scheme, "://... with one of them") : shown_url(text), "'"));
  Endpoint out;
  out.url = text;
  while (out.url.ends_with('/')) out.url.pop_back();
  out.origin = *origin_of(text);
  out.secure = scheme == "https";
  out.loopback = is_loopback(part(url, CURLUPART_HOST));
  return out;
}

std::optional<std::string> origin_of(const std::string& text) {
  const Url url = parse_url(text);
  if (!url) return std::nullopt;
  const std::string scheme = part(url, CURLUPART_SCHEME), host = part(url, CURLUPART_HOST);
  if ((scheme != "http" && scheme != "https") || host.empty()) return std::nullopt;
  std::string lower_host = host;
  for (char& c : lower_host)
    if (c >= 'A' && c <= 'Z') c += 'a' - 'A';
  return cat(scheme, "://", lower_host, ":", part(url, CURLUPART_PORT, CURLU_DEFAULT_PORT));
}

std::string shown_url(const std::string& url) {
  std::string shown = url.substr(0, url.find_first_of("?#"));
  const size_t begin = shown.find("://");
  const size_t host = begin == std::string::npos ? 0 : begin + 3;
  const size_t at = shown.find('@', host);
  if (at != std::string::npos && at < shown.find('/', host)) shown.erase(host, at + 1 - host);
  return shown;
}

const std::string* HttpReply::header(const std::string& name) const {
  const auto it = headers.find(name);
  return it == headers.end() ? nullptr : &it->second;
}

HttpClient::HttpClient(HttpOptions options) : options_(std::move(options)) {
  start_curl();
  multi_ = std::make_unique<Multi>();
  check(multi_->handle != nullptr, "libcurl gave no multi handle");
}

HttpClient::~HttpClient() { stop(); }

size_t HttpClient::active() const { return transfers_.size(); }

void HttpClient::stop() {
  for (const auto& [easy, transfer] : transfers_) curl_multi_remove_handle(multi_->handle, easy);
  transfers_.clear();
}

void HttpClient::start(HttpRequest request) {
  auto transfer = std::make_unique<Transfer>();
  check(transfer->easy != nullptr, "libcurl gave no handle");
  transfer->reply.url = request.url;
  transfer->request = std::move(request);
  Transfer& kept = *(transfers_[transfer->easy] = std::move(transfer));
  begin_hop(kept);
}

/// Sets the handle up for the address in reply.url, as for a first request.
void HttpClient::begin_hop(Transfer& t) {
  CURL* easy = t.easy;
  curl_easy_reset(easy);
  curl_slist_free_all(t.headers);
  t.headers = nullptr;
  t.reply.status = 0;
  t.reply.headers.clear();
  t.discarded = 0, t.header_count = 0, t.head_seen = false;
  const auto add = [&t](const std::string& line) { t.headers = curl_slist_append(t.headers, line.c_str()); };
  add("User-Agent: fathom/" FATHOM_VERSION);
  if (t.request.first)
    add(cat("Range: bytes=", *t.request.first, "-", t.request.last ? std::to_string(*t.request.last) : ""));
  if (!t.request.if_range.empty()) add("If-Range: " + t.request.if_range);
  // The one place where the token leaves: never to another host, port or scheme than the endpoint's.
  if (!options_.token.empty() && origin_of(t.reply.url) == options_.endpoint.origin)
    add("Authorization: Bearer " + options_.token);
  curl_easy_setopt(easy, CURLOPT_URL, t.reply.url.c_str());
  curl_easy_setopt(easy, CURLOPT_HTTPHEADER, t.headers);
  curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, options_.endpoint.secure ? "https" : "http,https");
  if (!options_.ca_file.empty()) curl_easy_setopt(easy, CURLOPT_CAINFO, options_.ca_file.c_str());
  curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
  curl_easy_setopt(easy, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);  // those of a proxy
  curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
  // Several connections are asked for to be several: HTTP/2 would carry all pieces over one.
  curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_1_1));
  curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT, static_cast<long>(options_.timeout_s));
  curl_easy_setopt(easy, CURLOPT_LOW_SPEED_LIMIT, kLeastBytesPerSecond);
  curl_easy_setopt(easy, CURLOPT_LOW_SPEED_TIME, static_cast<long>(options_.timeout_s));
  curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, 256L << 10);
  curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, t.error);
  curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, &on_header<Transfer>);
  curl_easy_setopt(easy, CURLOPT_HEADERDATA, &t);
  curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, &on_data<Transfer>);
  curl_easy_setopt(easy, CURLOPT_WRITEDATA, &t);
  log(LogLevel::kDebug, cat("GET ", shown_url(t.reply.url)));
  check(curl_multi_add_handle(multi_->handle, easy) == CURLM_OK, "libcurl refused a transfer");
}

/// True if the reply was a redirect that is now being followed; what forbids it goes into reply.problem.
bool HttpClient::follow(Transfer& t) {
  if (!is_redirect(t.reply.status)) return false;
  char* target = nullptr;
  curl_easy_getinfo(t.easy, CURLINFO_REDIRECT_URL, &target);
  const std::string url = target ? target : "";
  const std::optional<std::string> origin = origin_of(url);
  if (!origin)
    t.reply.problem = cat("expected a redirect to an http or https address, found '", shown_url(url), "'");
  else if (t.reply.url.starts_with("https:") && !origin->starts_with("https:"))
    t.reply.problem = cat("expected a redirect to https, found ", shown_url(url));
  else if (++t.redirects > options_.most_redirects)
    t.reply.problem = cat("expected at most ", options_.most_redirects, " redirects, found more");
  if (!t.reply.problem.empty()) return false;
  t.reply.url = url;
  begin_hop(t);
  return true;
}

void HttpClient::finish(void* easy, int code) {
  curl_multi_remove_handle(multi_->handle, easy);
  const auto it = transfers_.find(easy);
  check(it != transfers_.end(), "libcurl finished a transfer that nobody started");
  Transfer& t = *it->second;
  const auto result = static_cast<CURLcode>(code);
  const bool whole = result == CURLE_OK || (t.enough && !t.reply.thrown);
  if (!whole && !t.reply.thrown) {
    t.reply.problem = *t.error ? t.error : curl_easy_strerror(result);
    t.reply.temporary = !is_final(result);
  }
  if (whole && follow(t)) return;
  if (whole && t.reply.problem.empty()) guarded(t, 0, [&] { t.begin_body(); });  // a 2xx without a body
  log(LogLevel::kDebug, cat(shown_url(t.reply.url), ": status ", t.reply.status,
                            t.reply.problem.empty() ? "" : cat(", ", t.reply.problem)));
  const std::unique_ptr<Transfer> ended = std::move(it->second);
  transfers_.erase(it);
  if (ended->request.on_end) ended->request.on_end(ended->reply);
}

void HttpClient::poll(std::chrono::milliseconds at_most) {
  int running = 0, messages = 0;
  curl_multi_perform(multi_->handle, &running);
  if (running) {
    curl_multi_poll(multi_->handle, nullptr, 0, static_cast<int>(at_most.count()), nullptr);
    curl_multi_perform(multi_->handle, &running);
  } else if (transfers_.empty()) {
    curl_multi_poll(multi_->handle, nullptr, 0, static_cast<int>(at_most.count()), nullptr);
  }
  while (const CURLMsg* message = curl_multi_info_read(multi_->handle, &messages))
    if (message->msg == CURLMSG_DONE) {
      // The message does not outlive the handle's removal.
      void* const easy = message->easy_handle;
      const int code = message->data.result;
      finish(easy, code);
    }
}

}  // namespace fathom
