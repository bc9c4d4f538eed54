// The parser against tables written by hand from RFC 9110 and RFC 9112, whole and cut into pieces.
#include "server/http/request_parser.h"

namespace fathom::http {
namespace {

struct Outcome {
  int status = 0;  ///< of the refusal; 0: a whole request
  std::string why;
  size_t used = 0;
  bool done = false;
};

/// Feeds `text` in pieces of `piece` bytes.
Outcome feed(RequestParser& parser, std::string_view text, size_t piece) {
  Outcome out;
  try {
    while (out.used < text.size() && !parser.done()) out.used += parser.feed(text.substr(out.used, piece));
  } catch (const Refused& refused) {
    out.status = refused.status();
    out.why = refused.what();
  }
  out.done = parser.done();
  return out;
}

const std::string kStart = "POST /a HTTP/1.1\r\nHost: x\r\n";
const std::string kChunked = kStart + "Transfer-Encoding: chunked\r\n\r\n";
constexpr RequestLimits kSmall{.header_bytes = 2000, .headers = 20, .body_bytes = 1000};

TEST(RequestParser, EmptyLinesBeginNothing) {
  RequestParser parser(kSmall);
  EXPECT_EQ(parser.feed("\r\n\r"), 3u);
  EXPECT_FALSE(parser.begun());
  EXPECT_EQ(parser.feed("\nG"), 2u);
  EXPECT_TRUE(parser.begun());
}

TEST(RequestParser, ReadsARequest) {
  const std::string text =
      "\r\nPOST /v1/a%20b/%C3%A9?x=1&y=%2F HTTP/1.1\r\nhost: [::1]:8000\r\nX-A:  b\tc  \r\nx-empty:\r\n"
      "Content-Length: 5\r\nConnection: foo, Close\r\nExpect: 100-Continue\r\n\r\nhelloGET / HTTP/1.1\r\n";
  for (const size_t piece : {size_t{1}, size_t{2}, size_t{7}, text.size()}) {
    RequestParser parser(kSmall);
    EXPECT_FALSE(parser.begun());
    const Outcome out = feed(parser, text, piece);
    ASSERT_TRUE(out.done) << out.why;
    EXPECT_EQ(text.find("GET /"), out.used);
    const HttpServerRequest& request = parser.request();
    EXPECT_EQ("POST", request.method);
    EXPECT_EQ("/v1/a b/\u00e9", request.path);
    EXPECT_EQ("x=1&y=%2F", request.query);
    EXPECT_EQ("b\tc", request.header("x-a"));
    EXPECT_EQ("", request.header("X-EMPTY"));
    EXPECT_EQ(std::nullopt, request.header("X-B"));
    EXPECT_EQ("hello", request.body);
    EXPECT_EQ("[::1]:8000", parser.host());
    EXPECT_FALSE(parser.keep_alive());
    EXPECT_TRUE(parser.expects_continue());
  }
}

TEST(RequestParser, StopsBehindTheHead) {
  RequestParser parser(kSmall);
  const std::string head = kStart + "Content-Length: 3\r\n\r\n";
  EXPECT_EQ(head.size(), parser.feed(head + "abc"));
  EXPECT_TRUE(parser.head_done());
  EXPECT_FALSE(parser.done());
  EXPECT_EQ(3u, parser.feed("abcd"));
  EXPECT_TRUE(parser.done());
}

TEST(RequestParser, JoinsChunks) {
  const std::string chunks = "5\r\nhello\r\n0000A;name=\"v;1\";x\r\n, \r\nworld\n\r\n0\r\nTrailer: x\r\n\r\n";
  for (const size_t piece : {size_t{1}, size_t{3}, size_t{1000}}) {
    RequestParser parser(kSmall);
    const Outcome out = feed(parser, kChunked + chunks + "GET", piece);
    ASSERT_TRUE(out.done) << out.why;
    EXPECT_EQ("hello, \r\nworld\n", parser.request().body);
    EXPECT_EQ(std::nullopt, parser.request().header("Trailer"));
    EXPECT_EQ(kChunked.size() + chunks.size(), out.used);
  }
}

TEST(RequestParser, TakesTheFormsThatAreAllowed) {
  const auto parsed = [](const std::string& text) {
    RequestParser parser(kSmall);
    const Outcome out = feed(parser, text, text.size());
    EXPECT_TRUE(out.done) << text << out.why;
    return std::tuple(parser.request().path, parser.request().query, parser.host(), parser.keep_alive());
  };
  using T = std::tuple<std::string, std::string, std::string, bool>;
  EXPECT_EQ(T("/", "", "a.b:80", true), parsed("GET http://a.b:80 HTTP/1.1\r\nHost: other\r\n\r\n"));
  EXPECT_EQ(T("/p", "q", "a", true), parsed("GET HTTPS://a/p?q HTTP/1.1\r\nHost: a\r\n\r\n"));
  EXPECT_EQ(T("*", "", "a", true), parsed("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n"));
  EXPECT_EQ(T("/", "", "", false), parsed("GET / HTTP/1.0\r\n\r\n"));
  EXPECT_EQ(T("/", "?a=//", "", true), parsed("GET /??a=// HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n"));
  EXPECT_EQ(T("/", "", "a_b-c.d", true), parsed("!#$%&'*+-.^_`|~ / HTTP/1.1\r\nHost: a_b-c.d\r\nX: \xff\r\n\r\n"));
}

TEST(RequestParser, RefusesWhatHasTwoReadings) {
  using namespace std::string_literals;
  const std::string line = "GET / HTTP/1.1\r\n", end = "\r\n\r\n";
  const std::string cl = "Content-Length: ", te = "Transfer-Encoding: ";
  const std::pair<int, std::string> cases[] = {// The request line.
                                               {400, "\r\n\r\n\r\n\r\n\r\n\r\n"},
                                               {400, " GET / HTTP/1.1\r\n"},
                                               {400, "GET  / HTTP/1.1\r\n"},
                                               {400, "GET / x HTTP/1.1\r\n"},
                                               {400, "GET /\r\n"},
                                               {400, "GET\r\n"},
                                               {400, "GET /\tHTTP/1.1\r\n"},
                                               {400, "G(T / HTTP/1.1\r\n"},
                                               {400, std::string(40, 'A') + " / HTTP/1.1\r\n"},
                                               {400, "GET / HTTP/1.1\n"},
                                               {400, "GET / HTTP/1.1\r\r\n"},
                                               {400, "GET / http/1.1\r\n"},
                                               {505, "GET / HTTP/2.0\r\n"},
                                               {505, "GET / HTTP/1.2\r\n"},
                                               {505, "PRI * HTTP/2.0\r\n"},
                                               {400, "GET / HTTP/1.1 \r\n"},
                                               {400, "\x16\x03\x01"},
                                               {400, "\0"s},
                                               {400, "\n"},
                                               // The target.
                                               {400, "GET x HTTP/1.1\r\n"},
                                               {400, "GET * HTTP/1.1\r\n"},
                                               {400, "CONNECT a:80 HTTP/1.1\r\n"},
                                               {400, "GET ftp://a/ HTTP/1.1\r\n"},
                                               {400, "GET http:///x HTTP/1.1\r\n"},
                                               {400, "GET http://u@a/ HTTP/1.1\r\n"},
                                               {400, "GET /%zz HTTP/1.1\r\n"},
                                               {400, "GET /%4 HTTP/1.1\r\n"},
                                               {400, "GET /% HTTP/1.1\r\n"},
                                               {400, "GET /%00 HTTP/1.1\r\n"},
                                               {400, "GET /a%0d%0ab HTTP/1.1\r\n"},
                                               {400, "GET /%ff HTTP/1.1\r\n"},
                                               {400, "GET /%ed%a0%80 HTTP/1.1\r\n"},
                                               {400, "GET /\xc3\xa9 HTTP/1.1\r\n"},
                                               {400, "GET /a#b HTTP/1.1\r\n"},
                                               {400, "GET /\x7f HTTP/1.1\r\n"},
                                               {414, "GET /" + std::string(3000, 'a')},
                                               // Header lines.
                                               {400, kStart + " folded: x" + end},
                                               {400, kStart + "X: a\r\n b" + end},
                                               {400, kStart + "X: a\r\n\tb" + end},
                                               {400, kStart + "X : a" + end},
                                               {400, kStart + "X\t: a" + end},
                                               {400, kStart + ": a" + end},
                                               {400, kStart + "no colon" + end},
                                               {400, kStart + "X: a\nY: b" + end},
                                               {400, kStart + "X: a\rY: b" + end},
                                               {400, kStart + "X: a\0b"s + end},
                                               {400, kStart + "X: \x01" + end},
                                               {400, kStart + "X\0: a"s + end},
                                               {400, kStart + "X\xc3\xa9: a" + end},
                                               {400, kStart + "X: \x7f" + end},
                                               {400, kStart + "\n"},
                                               {431, kStart + "X: " + std::string(3000, 'a')},
                                               {431, kStart +
                                                         [] {
                                                           std::string many;
                                                           for (int i = 0; i < 20; ++i) many += "A:\r\n";
                                                           return many;
                                                         }()},
                                               // Host.
                                               {400, line + "\r\n"},
                                               {400, line + "Host: a\r\nHost: a" + end},
                                               {400, line + "Host:" + end},
                                               {400, line + "Host: a b" + end},
                                               {400, line + "Host: a/b" + end},
                                               {400, line + "Host: a:b" + end},
                                               {400, line + "Host: u@a" + end},
                                               {400, line + "Host: [::1" + end},
                                               {400, line + "Host: [::1]x" + end},
                                               {400, line + "Host: a:123456" + end},
                                               {400, line + "Host: a,b" + end},
                                               // Lengths and codings.
                                               {400, kStart + cl + "1\r\n" + te + "chunked" + end},
                                               {400, kStart + te + "chunked\r\n" + cl + "1" + end},
                                               {400, kStart + cl + "1\r\n" + cl + "2" + end},
                                               {400, kStart + cl + "1\r\n" + cl + "1" + end},
                                               {400, kStart + cl + "1, 1" + end},
                                               {400, kStart + cl + "+1" + end},
                                               {400, kStart + cl + "-1" + end},
                                               {400, kStart + cl + "0x1" + end},
                                               {400, kStart + cl + "1e1" + end},
                                               {400, kStart + cl + "1 1" + end},
                                               {400, kStart + cl + end},
                                               {413, kStart + cl + "1001" + end},
                                               {413, kStart + cl + "18446744073709551617" + end},
                                               {400, kStart + te + "xchunked" + end},
                                               {400, kStart + te + "chunked, identity" + end},
                                               {400, kStart + te + "gzip, chunked" + end},
                                               {400, kStart + te + "identity" + end},
                                               {400, kStart + te + end},
                                               {400, kStart + te + "chunked\r\n" + te + "chunked" + end},
                                               {400, kStart + te + "\"chunked\"" + end},
                                               {400, "POST / HTTP/1.0\r\n" + te + "chunked" + end},
                                               {417, kStart + "Expect: 200-ok" + end},
                                               {400, kStart + "Content-Type: a/b\r\nContent-Type: a/c" + end},
                                               {400, kStart + "Authorization: a\r\nauthorization: b" + end},
                                               // Chunks.
                                               {400, kChunked + "-1\r\n"},
                                               {400, kChunked + "+1\r\n"},
                                               {400, kChunked + "0x1\r\n"},
                                               {400, kChunked + "\r\n"},
                                               {400, kChunked + " 1\r\n"},
                                               {400, kChunked + "1 \r\n"},
                                               {400, kChunked + "1 ;a\r\n"},
                                               {400, kChunked + "g\r\n"},
                                               {400, kChunked + ";a\r\n"},
                                               {400, kChunked + "1\na\r\n"},
                                               {400, kChunked + "10000000000000001\r\n"},
                                               {400, kChunked + "00000000000000001\r\n"},
                                               {413, kChunked + "ffffffffffffffff\r\n"},
                                               {413, kChunked + "3e9\r\n"},
                                               {413, kChunked + "3e8\r\n" + std::string(1000, 'a') + "\r\n1\r\n"},
                                               {400, kChunked + "1\r\nab\r\n"},
                                               {400, kChunked + "1\r\na\n0\r\n\r\n"},
                                               {400, kChunked + "1\r\na\r\r\n"},
                                               {400, kChunked + "1;" + std::string(300, 'x')},
                                               {400, kChunked + "1;\x01\r\n"},
                                               {400, kChunked + "1;a\rb\r\n"},
                                               {400, kChunked + "0\r\n folded\r\n"},
                                               {400, kChunked + "0\r\nno colon\r\n\r\n"},
                                               {431, kChunked + "0\r\nX: " + std::string(3000, 'a')}};
  for (const auto& [status, text] : cases)
    for (const size_t piece : {text.size(), size_t{1}}) {
      RequestParser parser(kSmall);
      const Outcome out = feed(parser, text, piece);
      EXPECT_EQ(status, out.status) << ::testing::PrintToString(text.substr(0, 200)) << " " << out.why;
      EXPECT_FALSE(out.done);
    }
}

TEST(RequestParser, ExtensionsOfAllChunksTogetherAreBounded) {
  std::string text = kChunked;
  for (int i = 0; i < 30; ++i) text += "1;" + std::string(200, 'x') + "\r\na\r\n";
  RequestParser parser(kSmall);
  EXPECT_EQ(400, feed(parser, text, 1000).status);
}

TEST(RequestParser, AnAnnouncedLengthReservesNothing) {
  RequestParser parser({.body_bytes = size_t{1} << 60});
  (void)parser.feed(kStart + "Content-Length: 1000000000000000000\r\n\r\n");
  EXPECT_TRUE(parser.head_done());
  EXPECT_LT(parser.request().body.capacity(), 1000u);
}

/// How a text is cut into pieces changes nothing, whatever it is.
TEST(RequestParser, CutsDoNotMatter) {
  std::mt19937 random(7);
  const std::string base = kStart + "A: b\r\n" + "Transfer-Encoding: chunked\r\n\r\n3;x\r\nabc\r\n0\r\nT: u\r\n\r\n";
  const std::string bytes = std::string("\r\n\0 :;,aA01/%?", 15);
  int done = 0, refused = 0;
  for (int i = 0; i < 3000; ++i) {
    std::string text = base;
    for (unsigned k = random() % 3; k > 0; --k) text[random() % text.size()] = bytes[random() % bytes.size()];
    RequestParser whole(kSmall), cut(kSmall);
    const Outcome a = feed(whole, text, text.size()), b = feed(cut, text, 1 + random() % 5);
    ASSERT_EQ(std::tie(a.status, a.done, a.why), std::tie(b.status, b.done, b.why)) << ::testing::PrintToString(text);
    if (a.done) {
      ASSERT_EQ(a.used, b.used);
      ASSERT_EQ(whole.request().body, cut.request().body);
      ASSERT_EQ(whole.request().headers, cut.request().headers);
    }
    done += a.done, refused += a.status != 0;
  }
  EXPECT_GT(done, 300);
  EXPECT_GT(refused, 300);
}

}  // namespace
}  // namespace fathom::http
