// The server and a client that others wrote: libcurl.
#include <curl/curl.h>
#include <zlib.h>

#include <thread>

#include "server/http/http_testing.h"

namespace fathom {
namespace {
using namespace fathom::testing;

size_t append(char* data, size_t size, size_t n, void* to) {
  static_cast<std::string*>(to)->append(data, size * n);
  return size * n;
}

struct Curl {
  CURL* easy = curl_easy_init();
  curl_slist* headers = nullptr;
  std::string body, head;
  ~Curl() {
    curl_slist_free_all(headers);
    curl_easy_cleanup(easy);
  }
  /// The status, 0 where the transfer failed.
  long run(const TestServer& s, const std::string& path) {
    body.clear(), head.clear();
    curl_easy_setopt(easy, CURLOPT_URL, ("http://" + s.server.address() + path).c_str());
    curl_easy_setopt(easy, CURLOPT_PROXY, "");
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, append);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, &body);
    curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, append);
    curl_easy_setopt(easy, CURLOPT_HEADERDATA, &head);
    curl_easy_setopt(easy, CURLOPT_TIMEOUT, 20L);
    long status = 0;
    const CURLcode code = curl_easy_perform(easy);
    if (code != CURLE_OK) ADD_FAILURE() << curl_easy_strerror(code);
    curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
    return status;
  }
  void header(const char* line) { headers = curl_slist_append(headers, line); }
  void post(const std::string& data) {
    curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE, static_cast<long>(data.size()));
    curl_easy_setopt(easy, CURLOPT_COPYPOSTFIELDS, data.c_str());
  }
};

TEST(HttpCurl, KeepsItsConnection) {
  TestServer s;
  Curl curl;
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(200, curl.run(s, "/echo?" + std::to_string(i)));
    EXPECT_EQ("GET " + std::to_string(i) + " ", curl.body);
  }
  EXPECT_EQ(1u, s.server.counters().accepted);
}

TEST(HttpCurl, PostsInAllWays) {
  TestServer s;
  std::string data;
  for (int i = 0; data.size() < 2'000'000; ++i) data += std::to_string(i);
  Curl plain;
  plain.header("Expect: 100-continue");
  plain.post(data);
  EXPECT_EQ(200, plain.run(s, "/echo"));
  EXPECT_EQ("POST  " + data, plain.body);
  EXPECT_THAT(plain.head, ::testing::StartsWith("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n"));

  Curl chunked;
  chunked.header("Transfer-Encoding: chunked");
  chunked.post(data);
  EXPECT_EQ(200, chunked.run(s, "/echo"));
  EXPECT_EQ("POST  " + data, chunked.body);

  std::string packed(compressBound(data.size()), '\0');
  uLongf size = packed.size();
  ASSERT_EQ(Z_OK, compress(reinterpret_cast<Bytef*>(packed.data()), &size, reinterpret_cast<const Bytef*>(data.data()),
                           data.size()));
  packed.resize(size);
  Curl deflate;
  deflate.header("Content-Encoding: deflate");
  deflate.post("");
  curl_easy_setopt(deflate.easy, CURLOPT_POSTFIELDSIZE, static_cast<long>(size));
  curl_easy_setopt(deflate.easy, CURLOPT_COPYPOSTFIELDS, packed.data());
  EXPECT_EQ(200, deflate.run(s, "/echo"));
  EXPECT_EQ("POST  " + data, deflate.body);
}

TEST(HttpCurl, ReadsStreamsAndHeads) {
  TestServer s;
  Curl curl;
  std::thread answer([&] {
    const Call call = s.calls.take();
    call.responder->begin(201, "text/event-stream");
    for (int i = 0; i < 1000; ++i) call.responder->write("data: " + std::to_string(i) + "\n\n");
    call.responder->end();
  });
  EXPECT_EQ(201, curl.run(s, "/stream"));
  answer.join();
  EXPECT_THAT(curl.body, ::testing::EndsWith("data: 998\n\ndata: 999\n\n"));
  curl_easy_setopt(curl.easy, CURLOPT_NOBODY, 1L);
  EXPECT_EQ(200, curl.run(s, "/echo"));
  curl_easy_setopt(curl.easy, CURLOPT_NOBODY, 0L);
  curl_easy_setopt(curl.easy, CURLOPT_HTTPGET, 1L);
  curl_easy_setopt(curl.easy, CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_1_0));
  EXPECT_EQ(200, curl.run(s, "/echo"));
  EXPECT_EQ("GET  ", curl.body);
}

}  // namespace
}  // namespace fathom
