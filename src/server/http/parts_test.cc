// The parts of the server that need no socket: SSE, decompression, browsers' rules, answers.
#include <zlib.h>

#include "server/http/access.h"
#include "server/http/exchange.h"
#include "server/http/inflate.h"
#include "server/http/response.h"
#include "server/http/sse.h"
#include "server/http/target.h"

namespace fathom::http {
namespace {

struct Event {
  std::string type, data;
  bool operator==(const Event&) const = default;
};

/// What a reader makes of a stream, step by step as section 9.2.6 of the HTML standard says.
std::vector<Event> read_events(const std::string& stream) {
  std::vector<Event> events;
  Event current;
  bool has_data = false;
  for (size_t at = 0; at < stream.size();) {
    const size_t end = stream.find_first_of("\r\n", at);
    if (end == std::string::npos) break;
    const std::string line = stream.substr(at, end - at);
    at = end + (stream[end] == '\r' && end + 1 < stream.size() && stream[end + 1] == '\n' ? 2 : 1);
    if (line.empty()) {
      if (has_data) {
        current.data.pop_back();
        events.push_back(current);
      }
      current = {}, has_data = false;
      continue;
    }
    const size_t colon = std::min(line.find(':'), line.size());
    std::string value = line.substr(std::min(line.size(), colon + 1));
    if (value.starts_with(' ')) value.erase(0, 1);
    if (line.substr(0, colon) == "data") current.data += value + "\n", has_data = true;
    if (line.substr(0, colon) == "event") current.type = value;
  }
  return events;
}

TEST(Sse, FramesAnEvent) {
  EXPECT_EQ("data: {\"a\":1}\n\n", sse_event("{\"a\":1}"));
  EXPECT_EQ("event: ping\ndata: \n\n", sse_event("", "ping"));
  EXPECT_EQ(": keep-alive\n\n", sse_comment("keep-alive"));
}

TEST(Sse, NoTextBreaksOutOfItsEvent) {
  std::mt19937 random(3);
  const std::string letters("\r\n\0: daevnt", 11);
  for (int i = 0; i < 3000; ++i) {
    std::string data, name, comment;
    for (unsigned n = random() % 12; n > 0; --n) data += letters[random() % letters.size()];
    for (unsigned n = random() % 5; n > 0; --n) name += letters[random() % letters.size()];
    for (unsigned n = random() % 9; n > 0; --n) comment += letters[random() % letters.size()];
    std::string lines, clean_name;  // as the reader must see them
    for (size_t k = 0; k < data.size(); ++k)
      if (data[k] != '\r')
        lines += data[k];
      else if (k + 1 == data.size() || data[k + 1] != '\n')
        lines += '\n';
    for (const char c : name)
      if (c != '\r' && c != '\n' && c != '\0') clean_name += c;
    clean_name = clean_name;  // one space is the framing's own
    const std::vector<Event> events = read_events(sse_comment(comment) + sse_event(data, name) + sse_event("next"));
    ASSERT_EQ((std::vector<Event>{{clean_name, lines}, {"", "next"}}), events) << ::testing::PrintToString(data);
  }
}

std::string deflated(const std::string& text, int window_bits) {
  z_stream z{};
  deflateInit2(&z, 9, Z_DEFLATED, window_bits, 8, Z_DEFAULT_STRATEGY);
  std::string out(deflateBound(&z, text.size()) + 64, '\0');
  z.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  z.avail_in = static_cast<uInt>(text.size());
  z.next_out = reinterpret_cast<Bytef*>(out.data());
  z.avail_out = static_cast<uInt>(out.size());
  EXPECT_EQ(Z_STREAM_END, deflate(&z, Z_FINISH));
  out.resize(z.total_out);
  deflateEnd(&z);
  return out;
}

/// The result, or the refusal's status.
std::variant<std::string, int> inflated(std::string_view coding, std::string data, size_t most, size_t step = 1000) {
  try {
    Inflater inflater(coding, std::move(data), most);
    while (!inflater.step(step)) EXPECT_LE(inflater.bytes(), 200'000u);
    return inflater.take();
  } catch (const Refused& refused) {
    return refused.status();
  }
}

TEST(Inflater, DecompressesWithinItsBound) {
  std::string text;
  for (int i = 0; i < 5000; ++i) text += std::to_string(i);
  const std::string gzip = deflated(text, 31), zlib = deflated(text, 15);
  using Result = std::variant<std::string, int>;
  EXPECT_EQ(Result(text), inflated("gzip", gzip, text.size()));
  EXPECT_EQ(Result(text), inflated("X-GZIP", gzip, text.size(), 1));
  EXPECT_EQ(Result(text), inflated("deflate", zlib, text.size() + 1, 1 << 20));
  EXPECT_EQ(Result(413), inflated("gzip", gzip, text.size() - 1));
  EXPECT_EQ(Result(""), inflated("gzip", deflated("", 31), 0));
  EXPECT_EQ(Result(400), inflated("gzip", zlib, text.size()));
  EXPECT_EQ(Result(400), inflated("gzip", gzip + "x", text.size()));
  EXPECT_EQ(Result(400), inflated("gzip", "", 10));
  EXPECT_EQ(Result(415), inflated("br", gzip, 10));
  EXPECT_EQ(Result(415), inflated("gzip, gzip", gzip, 10));
  for (size_t cut = 0; cut < gzip.size(); cut += 97)
    EXPECT_EQ(Result(400), inflated("gzip", gzip.substr(0, cut), text.size())) << cut;
  std::string broken = gzip;
  broken[gzip.size() - 6] ^= 1;  // the checksum
  EXPECT_EQ(Result(400), inflated("gzip", broken, text.size()));
}

TEST(Inflater, ABombGoesOffInSmallSteps) {
  const std::string bomb = deflated(std::string(5'000'000, 'a'), 31);
  EXPECT_LT(bomb.size(), 6'000u);
  EXPECT_EQ((std::variant<std::string, int>(413)), inflated("gzip", bomb, 100'000));
}

HttpServerRequest request(const std::string& method, const HttpHeaders& headers) {
  HttpServerRequest out;
  out.method = method;
  out.headers = headers;
  return out;
}

bool allowed(const std::string& host, const HttpServerRequest& request, const HttpServerOptions& options = {},
             bool loopback = true) {
  try {
    check_access(request, host, options, loopback);
    return true;
  } catch (const Refused& refused) {
    EXPECT_EQ(403, refused.status());
    return false;
  }
}

TEST(Access, OnLoopbackOnlyItsNamesAreAnswered) {
  const HttpServerRequest get = request("GET", {});
  for (const char* host : {"localhost", "LOCALHOST:1", "127.0.0.1:8000", "[::1]", "[::1]:80", ""})
    EXPECT_TRUE(allowed(host, get)) << host;
  for (const char* host : {"evil.example", "localhost.evil.example", "127.0.0.1.evil.example:80", "0.0.0.0", "[::2]"})
    EXPECT_FALSE(allowed(host, get)) << host;
  EXPECT_TRUE(allowed("api.example:8000", get, {.allowed_hosts = {"API.example"}}));
  EXPECT_TRUE(allowed("api.example", get, {.allowed_hosts = {"*"}}));
  EXPECT_TRUE(allowed("evil.example", get, {.host = "0.0.0.0"}, false));
  EXPECT_FALSE(allowed("evil.example", get, {.host = "0.0.0.0", .allowed_hosts = {"api.example"}}, false));
}

TEST(Access, ForeignPagesCannotPostWithoutAsking) {
  const std::string host = "localhost:8000";
  const auto post = [&](const char* origin, HttpHeaders headers) {
    headers.emplace_back("Origin", origin);
    return allowed(host, request("POST", headers), {.cors = {"https://app.example"}});
  };
  for (const char* type : {"text/plain", "text/plain; application/json", "multipart/form-data; boundary=x", "json",
                           "Application/X-WWW-Form-Urlencoded"}) {
    EXPECT_FALSE(post("https://evil.example", {{"Content-Type", type}})) << type;
    EXPECT_TRUE(post("http://localhost:8000", {{"Content-Type", type}})) << type;
    EXPECT_TRUE(post("https://app.example", {{"Content-Type", type}})) << type;
    EXPECT_TRUE(allowed(host, request("POST", {{"Content-Type", type}}))) << "no page: " << type;
  }
  EXPECT_FALSE(post("null", {}));
  EXPECT_FALSE(post("http://localhost:3000", {}));
  EXPECT_TRUE(post("https://evil.example", {{"Content-Type", "application/json; charset=utf-8"}}));
  EXPECT_TRUE(allowed(host, request("GET", {{"Origin", "https://evil.example"}})));
}

TEST(Access, CorsHeadersAreForListedOrigins) {
  const HttpHeaders page = {{"Origin", "https://app.example"}};
  EXPECT_EQ(HttpHeaders{}, cors_headers(request("POST", page), {}));
  const HttpServerOptions one{.cors = {"https://app.example"}}, all{.cors = {"*"}};
  EXPECT_EQ((HttpHeaders{{"Vary", "Origin"},
                         {"Access-Control-Allow-Origin", "https://app.example"},
                         {"Access-Control-Expose-Headers", "*"}}),
            cors_headers(request("POST", page), one));
  EXPECT_EQ((HttpHeaders{{"Vary", "Origin"}}), cors_headers(request("POST", {{"Origin", "https://b"}}), one));
  EXPECT_EQ((HttpHeaders{{"Vary", "Origin"}}), cors_headers(request("POST", {}), one));
  EXPECT_EQ("*", cors_headers(request("POST", page), all).at(0).second);
}

TEST(Response, ErrorBodiesAreJsonWhateverTheTextIs) {
  EXPECT_EQ("{\"error\":{\"message\":\"a\\\"\\n\uFFFD\",\"type\":\"server_error\",\"param\":null,\"code\":null}}",
            error_body(500, "a\"\n\xff"));
  EXPECT_TRUE(sane_request_id("a-B_9."));
  EXPECT_TRUE(sane_request_id(std::string(64, 'a')));
  for (const std::string bad : {"", "a b", "a\n", "\xc3\xa9"}) EXPECT_FALSE(sane_request_id(bad)) << bad;
  EXPECT_FALSE(sane_request_id(std::string(65, 'a')));
  EXPECT_NE(new_request_id(), new_request_id());
}

TEST(Target, QueryValues) {
  EXPECT_EQ("1 2/", query_value("a=1+2%2F&b=3&a=4", "a"));
  EXPECT_EQ("3", query_value("a=1&b=3", "b"));
  EXPECT_EQ("", query_value("a&b=", "a"));
  EXPECT_EQ("", query_value("a&b=", "b"));
  EXPECT_EQ("x=y", query_value("%61=x=y", "a"));
  EXPECT_EQ(std::nullopt, query_value("ab=1&", "a"));
  EXPECT_EQ(std::nullopt, query_value("a=%", "a"));
}

/// Everything an exchange has queued, and whether that is its end.
std::pair<std::string, bool> taken(Exchange& exchange) {
  std::string out;
  const bool complete = exchange.take(out);
  exchange.sent(out.size());
  return {out, complete};
}

TEST(Exchange, WakesOncePerTake) {
  int woken = 0;
  Exchange exchange({.max_queued_bytes = 1000}, [&] { ++woken; });
  exchange.begin(200, "text/plain", {});
  exchange.write("abc");
  EXPECT_EQ(1, woken);
  EXPECT_FALSE(taken(exchange).second);
  exchange.end();
  EXPECT_EQ(2, woken);
  EXPECT_EQ(std::pair(std::string("0\r\n\r\n"), true), taken(exchange));
}

TEST(Exchange, AStreamThatIsNotReadIsCut) {
  int gone = 0;
  Exchange exchange({.max_queued_bytes = 400}, [] {});
  exchange.on_close([&] { ++gone; });
  exchange.begin(200, "text/plain", {});
  (void)taken(exchange);
  std::string unsent;
  exchange.write(std::string(200, 'a'));
  (void)exchange.take(unsent);  // with the system, which takes nothing: it counts
  exchange.write(std::string(180, 'a'));
  EXPECT_FALSE(exchange.closed());
  exchange.write(std::string(180, 'a'));
  EXPECT_TRUE(exchange.closed());
  EXPECT_EQ(0, gone);
  EXPECT_TRUE(exchange.cut());
  exchange.disconnect();
  exchange.disconnect();
  EXPECT_EQ(1, gone);
  exchange.on_close([&] { ++gone; });
  EXPECT_EQ(2, gone) << "a function given too late is called at once";
}

TEST(Exchange, CompleteAnswersAreNeverGone) {
  Exchange exchange({.max_queued_bytes = 400}, [] {});
  exchange.on_close([] { ADD_FAILURE(); });
  exchange.send(204, "", "", {});
  exchange.disconnect();
  exchange.on_close([] { ADD_FAILURE(); });
  EXPECT_FALSE(exchange.closed());
}

TEST(Exchange, HeartbeatsComeWhenNothingElseDoes) {
  using namespace std::chrono_literals;
  Exchange exchange({.max_queued_bytes = 1000}, [] {});
  const auto start = Exchange::Clock::now();
  EXPECT_EQ(std::nullopt, exchange.beat(start));
  exchange.heartbeat(10s, "\n");
  const auto due = exchange.beat(start);
  ASSERT_TRUE(due && *due >= start + 10s);
  EXPECT_EQ("", taken(exchange).first);
  EXPECT_FALSE(exchange.begun());
  EXPECT_EQ(start + 35s, exchange.beat(start + 25s));
  EXPECT_TRUE(exchange.begun());
  std::string out = taken(exchange).first;
  EXPECT_THAT(out, ::testing::StartsWith("HTTP/1.1 200 OK\r\n"));
  EXPECT_THAT(out, ::testing::EndsWith("chunked\r\n\r\n1\r\n\n\r\n"));
  exchange.send(429, "text/plain", "{}", {});  // the status has gone already
  EXPECT_EQ("2\r\n{}\r\n0\r\n\r\n", taken(exchange).first);
  EXPECT_EQ(std::nullopt, exchange.beat(start + 100s));
}

}  // namespace
}  // namespace fathom::http
