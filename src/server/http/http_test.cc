// The server over real sockets: what a client gets, byte by byte.

#include <thread>

#include "server/http/http_testing.h"

namespace fathom {
namespace {
using namespace fathom::testing;

TEST(HttpServer, AnswersAndKeepsTheConnection) {
  TestServer s;
  RawClient client = s.client();
  for (int i = 0; i < 3; ++i) {
    const HttpReplyText reply = client.ask(post("/echo?n=" + std::to_string(i), "hello", "X-Request-Id: req-7\r\n"));
    EXPECT_EQ(200, reply.status);
    EXPECT_EQ("POST n=" + std::to_string(i) + " hello", reply.body);
    EXPECT_EQ("text/plain", reply.headers.at("content-type"));
    EXPECT_EQ("req-7", reply.headers.at("x-request-id"));
    EXPECT_EQ(0u, reply.headers.count("connection"));
  }
  const std::string id = client.ask(get("/echo", "X-Request-Id: a b\r\n")).headers.at("x-request-id");
  EXPECT_EQ(24u, id.size()) << id;
  EXPECT_EQ("close", client.ask(get("/echo", "Connection: close\r\n")).headers.at("connection"));
  EXPECT_TRUE(client.at_end());
  EXPECT_EQ(5u, s.server.counters().requests);
  EXPECT_EQ(1u, s.server.counters().accepted);
}

TEST(HttpServer, PipelinedRequestsWaitForTheirTurn) {
  TestServer s;
  RawClient client = s.client();
  client.send(get("/later") + post("/echo", "two") + get("/later") + get("/echo?4"));
  Call first = s.calls.take();
  EXPECT_FALSE(client.readable(0));
  first.responder->send(200, "text/plain", "one");
  EXPECT_EQ("one", client.reply().body);
  EXPECT_EQ("POST  two", client.reply().body);
  Call third = s.calls.take();
  std::thread([&] { third.responder->send(200, "text/plain", "three"); }).join();
  EXPECT_EQ("three", client.reply().body);
  EXPECT_EQ("GET 4 ", client.reply().body);
}

TEST(HttpServer, MorePipelinedThanIsReadAheadIsAnsweredAll) {
  TestServer s({.max_header_bytes = 2000});
  RawClient client = s.client();
  std::string all = get("/later");
  for (int i = 0; i < 3000; ++i) all += get("/echo?" + std::to_string(i));
  std::thread sender([&] { client.send(all); });
  s.calls.take().responder->send(200, "", "");
  EXPECT_EQ(200, client.reply().status);
  for (int i = 0; i < 3000; ++i) ASSERT_EQ("GET " + std::to_string(i) + " ", client.reply().body);
  sender.join();
}

TEST(HttpServer, StreamsInChunks) {
  TestServer s;
  RawClient client = s.client();
  client.send(get("/stream") + get("/echo"));
  Call call = s.calls.take();
  EXPECT_FALSE(call.responder->begun());
  call.responder->begin(200, "text/event-stream", {{"X-Evil", "a\r\nSet-Cookie: b"}});
  EXPECT_TRUE(call.responder->begun());
  call.responder->write("first\n\n");
  EXPECT_THAT(client.read_through("first\n\n\r\n"), ::testing::HasSubstr("X-Evil: a  Set-Cookie: b\r\n"));
  call.responder->write("");  // would be the last chunk
  call.responder->write("second");
  call.responder->end();
  call.responder->end();
  call.responder->write("after the end");
  EXPECT_EQ("6\r\nsecond\r\n0\r\n\r\n", client.read_through("0\r\n\r\n"));
  EXPECT_EQ(200, client.reply().status);
  EXPECT_FALSE(call.responder->closed());
}

TEST(HttpServer, Http10GetsAStreamUpToTheEnd) {
  TestServer s;
  RawClient client = s.client();
  client.send("GET /stream HTTP/1.0\r\n\r\n");
  Call call = s.calls.take();
  call.responder->begin(200, "text/plain");
  call.responder->write("abc");
  call.responder->end();
  const HttpReplyText reply = client.reply();
  EXPECT_EQ("abc", reply.body);
  EXPECT_EQ(0u, reply.headers.count("transfer-encoding"));
  RawClient kept = s.client();
  EXPECT_EQ("keep-alive", kept.ask("GET /echo HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n").headers.at("connection"));
  EXPECT_EQ(200, kept.ask("GET /echo HTTP/1.0\r\n\r\n").status);
  EXPECT_TRUE(kept.at_end());
}

TEST(HttpServer, HeadHasNoBody) {
  TestServer s;
  RawClient client = s.client();
  client.send("HEAD /echo HTTP/1.1\r\n" + kHost + "\r\nHEAD /stream HTTP/1.1\r\n" + kHost + "\r\n");
  EXPECT_EQ("6", client.reply(true).headers.at("content-length"));
  Call call = s.calls.take();
  call.responder->begin(200, "text/plain");
  call.responder->write("abc");
  call.responder->end();
  EXPECT_EQ("chunked", client.reply(true).headers.at("transfer-encoding"));
  EXPECT_EQ("GET  ", client.ask(get("/echo")).body);
}

TEST(HttpServer, Says100ContinueOnlyWhereItIsWanted) {
  TestServer s({.max_body_bytes = 100});
  RawClient client = s.client();
  client.send("POST /echo HTTP/1.1\r\n" + kHost + "Expect: 100-continue\r\nContent-Length: 3\r\n\r\n");
  EXPECT_EQ("HTTP/1.1 100 Continue\r\n\r\n", client.read_through("\r\n\r\n"));
  client.send("abc");
  EXPECT_EQ("POST  abc", client.reply().body);
  client.send("POST /echo HTTP/1.1\r\n" + kHost + "Expect: 100-continue\r\nContent-Length: 101\r\n\r\n");
  EXPECT_EQ(413, client.reply().status);
  EXPECT_TRUE(client.at_end());
}

TEST(HttpServer, ARefusalClosesTheConnection) {
  TestServer s({.max_body_bytes = 1000});
  const std::string body = "\r\n\r\n", chunked = "Transfer-Encoding: chunked\r\n";
  const std::string start = "POST /echo HTTP/1.1\r\n" + kHost;
  const std::pair<int, std::string> cases[] = {{400, start + chunked + "Content-Length: 4\r\n\r\n0\r\n\r\n"},
                                               {400, start + chunked + "\r\n-1\r\n\r\n"},
                                               {413, start + chunked + "\r\nffffffffffffffff\r\n\r\n"},
                                               {400, start + chunked + "\r\n1;" + std::string(10'000, 'x')},
                                               {413, start + "Content-Length: 99999999999999999999999\r\n\r\n"},
                                               {431, start +
                                                         [] {
                                                           std::string many;
                                                           for (int i = 0; i < 1'000'000; ++i) many += "a:\r\n";
                                                           return many;
                                                         }()},
                                               {414, "GET /" + std::string(100'000, 'a')},
                                               {400, "\x16\x03\x01\x02"},
                                               {403, "GET /echo HTTP/1.1\r\nHost: evil.example\r\n\r\n"},
                                               {415, start + "Content-Encoding: br\r\nContent-Length: 4\r\n\r\nabcd"}};
  for (const auto& [status, text] : cases) {
    SCOPED_TRACE(text.substr(0, 200));
    RawClient client = s.client();
    client.send(text);
    client.send(get("/echo"));  // must not be served
    const HttpReplyText reply = client.reply();
    EXPECT_EQ(status, reply.status);
    EXPECT_EQ("close", reply.headers.at("connection"));
    EXPECT_THAT(reply.body, ::testing::MatchesRegex(R"re(\{"error":\{"message":".+","type":"invalid_request_error",)re"
                                                    R"re("param":null,"code":null\}\})re"));
    EXPECT_TRUE(client.at_end());
  }
  EXPECT_EQ(0u, s.server.counters().requests);
  EXPECT_EQ(std::size(cases), s.server.counters().refused);
}

TEST(HttpServer, EndlessChunksAreBounded) {
  TestServer s({.max_body_bytes = 100'000});
  RawClient client = s.client();
  client.send("POST /echo HTTP/1.1\r\n" + kHost + "Transfer-Encoding: chunked\r\n\r\n");
  while (!client.readable(0) && client.send("3e8\r\n" + std::string(1000, 'a') + "\r\n")) {
  }
  EXPECT_EQ(413, client.reply().status);
}

TEST(HttpServer, WhatTheHandlerThrowsBecomesAnAnswer) {
  TestServer s;
  RawClient client = s.client();
  HttpReplyText reply = client.ask(get("/error"));
  EXPECT_EQ(400, reply.status);
  EXPECT_THAT(reply.body,
              ::testing::HasSubstr(R"("message":"the thing: expected \"a\"","type":"invalid_request_error")"));
  EXPECT_EQ(503, client.ask(get("/full")).status);
  reply = client.ask(get("/bug"));
  EXPECT_EQ(500, reply.status);
  EXPECT_THAT(reply.body, ::testing::Not(::testing::HasSubstr("secret")));
  EXPECT_EQ(500, client.ask(get("/forget")).status);
  client.send(get("/begun"));
  s.calls.take().responder->begin(200, "text/plain");  // and forgets it
  EXPECT_FALSE(client.reply().whole);
  EXPECT_TRUE(client.at_end());
}

}  // namespace
}  // namespace fathom
