// Clients that go away, that are slow, too many or a browser; servers that end.
#include <sys/resource.h>

#include <future>
#include <thread>

#include "server/http/http_testing.h"

namespace fathom {
namespace {
using namespace fathom::testing;
using namespace std::chrono_literals;

/// Whether it is set within 20 s.
bool comes(std::promise<void>& promise) { return promise.get_future().wait_for(20s) == std::future_status::ready; }

TEST(HttpFaults, ADisconnectIsSeenWhileNothingIsWritten) {
  TestServer s;
  for (const bool streaming : {false, true}) {
    RawClient client = s.client();
    client.send(get("/later"));
    Call call = s.calls.take();
    if (streaming) call.responder->begin(200, "text/event-stream");
    if (streaming) (void)client.read_through("\r\n\r\n");
    std::promise<void> gone;
    call.responder->on_close([&] { gone.set_value(); });  // a second call would throw
    EXPECT_FALSE(call.responder->closed());
    client.close();
    EXPECT_TRUE(comes(gone));
    EXPECT_TRUE(call.responder->closed());
    call.responder->heartbeat(1ms, "\n");
    if (streaming) call.responder->write("to nobody");
    call.responder->send(200, "text/plain", "to nobody");
  }
}

TEST(HttpFaults, ADisconnectIsSeenBehindRequestsThatWait) {
  TestServer s({.max_header_bytes = 4096});
  RawClient client = s.client();
  client.send(get("/wait"));
  const Call call = s.calls.take();
  std::promise<void> gone;
  call.responder->on_close([&gone] { gone.set_value(); });
  std::string waiting;
  while (waiting.size() < 20'000) waiting += get("/echo");
  client.send(waiting);  // the system holds what the server does not read
  client.close();
  EXPECT_EQ(gone.get_future().wait_for(std::chrono::seconds(20)), std::future_status::ready);
}

TEST(HttpFaults, ADisconnectInAnUploadIsNoRequest) {
  TestServer s;
  for (const std::string part : {"PO", "POST /later HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nabc"}) {
    RawClient client = s.client();
    client.send(part);
    client.close_sending();
    EXPECT_TRUE(client.at_end());
  }
  EXPECT_EQ(0u, s.server.counters().requests);
}

TEST(HttpFaults, AClientThatOnlyStopsSendingGetsWhatWasAnswered) {
  TestServer s;
  RawClient client = s.client();
  client.send(get("/echo?1") + get("/echo?2"));
  client.close_sending();
  EXPECT_EQ("GET 1 ", client.reply().body);
  EXPECT_EQ("GET 2 ", client.reply().body);
  EXPECT_TRUE(client.at_end());
}

TEST(HttpFaults, ASlowReaderIsCutAndOthersAreNot) {
  TestServer s({.max_queued_bytes = 100'000});
  RawClient slow = s.client(), fast = s.client();
  slow.send(get("/slow"));
  Call slow_call = s.calls.take();
  fast.send(get("/fast"));
  Call fast_call = s.calls.take();
  std::promise<void> gone;
  slow_call.responder->on_close([&] { gone.set_value(); });
  slow_call.responder->begin(200, "text/plain");
  fast_call.responder->begin(200, "text/plain");
  const std::string piece(10'000, 'x');
  size_t written = 0, read = 0;
  (void)fast.read_through("\r\n\r\n");
  while (!slow_call.responder->closed() && written < 100'000'000) {
    slow_call.responder->write(piece);
    fast_call.responder->write(piece);
    written += piece.size();
    read += fast.read_through(piece + "\r\n").size();
    EXPECT_LE(slow_call.responder->queued_bytes(), 110'000u);
    EXPECT_FALSE(fast_call.responder->closed());
  }
  EXPECT_TRUE(comes(gone));
  EXPECT_GT(read, written);
  EXPECT_LT(written, 50'000'000u);  // the system's own buffers, and ours
  fast_call.responder->end();
  EXPECT_EQ("0\r\n\r\n", fast.read_through("0\r\n\r\n"));
  EXPECT_EQ(1u, s.server.counters().cut);
  EXPECT_FALSE(slow.reply().whole);
}

TEST(HttpFaults, WhoReadsNothingIsCutInTime) {
  TestServer s({.write_idle_timeout = 50ms});
  RawClient client = s.client();
  client.send(get("/later"));
  s.calls.take().responder->send(200, "text/plain", std::string(50'000'000, 'x'));
  while (s.server.counters().cut == 0) std::this_thread::yield();
  EXPECT_FALSE(client.reply().whole);
}

TEST(HttpFaults, SlowSendersAreCutInTime) {
  TestServer s({.header_timeout = 50ms, .body_idle_timeout = 50ms, .min_body_rate = 1'000'000'000});
  const std::string start = "POST /echo HTTP/1.1\r\nHost: localhost\r\n";
  RawClient silent = s.client();
  EXPECT_TRUE(silent.at_end());
  for (const std::string& text : {start, start + "Content-Length: 5\r\n\r\nab"}) {
    RawClient client = s.client();
    client.send(text);
    EXPECT_EQ(408, client.reply().status);
    EXPECT_TRUE(client.at_end());
  }
  RawClient one_by_one = s.client();  // bytes move neither deadline
  one_by_one.send(start);
  while (!one_by_one.readable(1)) one_by_one.send("a");
  EXPECT_EQ(408, one_by_one.reply().status);
  RawClient body = s.client();
  body.send(start + "Content-Length: 1000000\r\n\r\n");
  while (!body.readable(1)) body.send("a");
  EXPECT_EQ(408, body.reply().status);
}

TEST(HttpFaults, IdleConnectionsAreClosedInTime) {
  TestServer s({.header_timeout = 50ms, .keep_alive_timeout = 100ms});
  RawClient client = s.client();
  EXPECT_EQ(200, client.ask(get("/echo")).status);
  client.send("G");  // from here the head's own time-out counts
  EXPECT_EQ(408, client.reply().status);
  RawClient idle = s.client();
  EXPECT_EQ(200, idle.ask(get("/echo")).status);
  EXPECT_TRUE(idle.at_end());
}

TEST(HttpFaults, TooManyConnectionsAreTurnedAway) {
  TestServer s({.max_connections = 2});
  RawClient a = s.client(), b = s.client();
  EXPECT_EQ(200, a.ask(get("/echo")).status);
  EXPECT_EQ(200, b.ask(get("/echo")).status);
  RawClient c = s.client();
  const HttpReplyText reply = c.reply();
  EXPECT_EQ(503, reply.status);
  EXPECT_EQ("1", reply.headers.at("retry-after"));
  EXPECT_TRUE(c.at_end());
  a.close();
  c.close();
  while (s.server.counters().open > 1) std::this_thread::yield();
  EXPECT_EQ(200, s.client().ask(get("/echo")).status);
  EXPECT_EQ(1u, s.server.counters().turned_away);
}

TEST(HttpFaults, BodiesTogetherAreBounded) {
  TestServer s({.max_buffered_bytes = 100'000});
  RawClient first = s.client(), second = s.client();
  const std::string start = "POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 80000\r\n\r\n";
  first.send(start + std::string(79'999, 'a'));
  while (s.server.counters().bytes_in < start.size() + 79'999) std::this_thread::yield();
  EXPECT_EQ(503, second.ask(start + std::string(80'000, 'a')).status);
  EXPECT_EQ(200, first.ask("a").status);
  EXPECT_EQ(200, first.ask(start + std::string(80'000, 'a')).status);
}

TEST(HttpFaults, HeartbeatsKeepWaitingClientsAwake) {
  TestServer s;
  RawClient stream = s.client(), whole = s.client();
  stream.send(get("/stream"));
  Call first = s.calls.take();
  first.responder->begin(200, "text/event-stream");
  first.responder->heartbeat(2ms, ": keep-alive\n\n");
  (void)stream.read_through(": keep-alive\n\n\r\n");
  EXPECT_EQ("e\r\n: keep-alive\n\n\r\n", stream.read_through("\n\n\r\n"));
  first.responder->heartbeat(0ms, "");
  first.responder->write("last");
  first.responder->end();
  EXPECT_THAT(stream.read_through("0\r\n\r\n"), ::testing::EndsWith("4\r\nlast\r\n0\r\n\r\n"));
  whole.send(get("/whole") + get("/echo"));
  Call second = s.calls.take();
  second.responder->heartbeat(2ms, "\n");
  while (!second.responder->begun()) std::this_thread::yield();
  second.responder->send(200, "application/json", "{}");
  const HttpReplyText reply = whole.reply();
  EXPECT_EQ(200, reply.status);
  EXPECT_THAT(reply.body, ::testing::MatchesRegex("\n+\\{\\}"));
  EXPECT_EQ(200, whole.reply().status);
}

TEST(HttpFaults, FiveHundredAtOnce) {
  rlimit files{};
  getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = std::min<rlim_t>(files.rlim_max, 4096);
  setrlimit(RLIMIT_NOFILE, &files);
  if (files.rlim_cur < 1200) GTEST_SKIP() << "needs 1,200 open files";
  TestServer s({.io_threads = 2});
  std::vector<RawClient> clients;
  for (int i = 0; i < 500; ++i) {
    clients.push_back(s.client());
    clients.back().send(get("/n?" + std::to_string(i)));
  }
  std::vector<Call> calls;
  for (int i = 0; i < 500; ++i) calls.push_back(s.calls.take());
  EXPECT_EQ(500u, s.server.counters().open);
  for (const Call& call : calls) call.responder->begin(200, "text/plain");
  std::vector<std::thread> threads;  // all streams interleave
  for (size_t t = 0; t < 2; ++t)
    threads.emplace_back([&, t] {
      for (int piece = 0; piece < 5; ++piece)
        for (size_t i = t; i < calls.size(); i += 2) calls[i].responder->write(calls[i].request.query + ";");
      for (size_t i = t; i < calls.size(); i += 2) calls[i].responder->end();
    });
  for (std::thread& thread : threads) thread.join();
  for (int i = 0; i < 500; ++i) {
    std::string want;
    for (int piece = 0; piece < 5; ++piece) want += std::to_string(i) + ";";
    ASSERT_EQ(want, clients[static_cast<size_t>(i)].reply().body);
  }
}

TEST(HttpFaults, DrainLetsAnswersEndAndTakesNoMore) {
  TestServer s;
  RawClient idle = s.client(), busy = s.client(), sending = s.client();
  EXPECT_EQ(200, idle.ask(get("/echo")).status);
  busy.send(get("/stream"));
  Call call = s.calls.take();
  call.responder->begin(200, "text/plain");
  const std::string part = "POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\na";
  sending.send(part);
  const size_t sent = get("/echo").size() + get("/stream").size() + part.size();
  while (s.server.counters().bytes_in < sent) std::this_thread::yield();
  auto drained = std::async(std::launch::async, [&] { return s.server.drain(); });
  EXPECT_TRUE(idle.at_end());
  EXPECT_EQ("close", sending.ask("b").headers.at("connection"));
  EXPECT_FALSE(s.client().connected);
  call.responder->write("the rest");
  call.responder->end();
  EXPECT_EQ("the rest", busy.reply().body);
  EXPECT_TRUE(drained.get());
}

TEST(HttpFaults, DrainEndsInTimeAndRespondersOutliveTheServer) {
  std::promise<void> gone;
  Call call;
  RawClient* client;
  {
    TestServer s({.drain_timeout = 20ms});
    client = new RawClient(s.server.port());
    client->send(get("/later"));
    call = s.calls.take();
    call.responder->on_close([&] { gone.set_value(); });
    EXPECT_FALSE(s.server.drain());
    EXPECT_TRUE(comes(gone));
  }
  call.responder->send(200, "text/plain", "too late");
  EXPECT_TRUE(call.responder->closed());
  EXPECT_TRUE(client->at_end());
  delete client;
}

TEST(HttpFaults, BrowsersRulesOverTheWire) {
  TestServer s({.cors = {"https://app.example"}});
  RawClient client = s.client();
  const std::string preflight =
      "OPTIONS /echo HTTP/1.1\r\nHost: localhost\r\nAccess-Control-Request-Method: POST\r\n"
      "Access-Control-Request-Headers: authorization,x-a\r\nOrigin: https://";
  HttpReplyText reply = client.ask(preflight + "app.example\r\n\r\n");
  EXPECT_EQ(204, reply.status);
  EXPECT_EQ("https://app.example", reply.headers.at("access-control-allow-origin"));
  EXPECT_EQ("authorization,x-a", reply.headers.at("access-control-allow-headers"));
  reply = client.ask(preflight + "evil.example\r\n\r\n");
  EXPECT_EQ(403, reply.status);
  EXPECT_EQ(0u, reply.headers.count("access-control-allow-origin"));
  reply = client.ask(post("/echo", "a", "Origin: https://app.example\r\n"));
  EXPECT_EQ("https://app.example", reply.headers.at("access-control-allow-origin"));
  EXPECT_EQ("Origin", reply.headers.at("vary"));
  reply = client.ask(get("/error", "Origin: https://app.example\r\n"));
  EXPECT_EQ("https://app.example", reply.headers.at("access-control-allow-origin"));
  EXPECT_EQ(403, client.ask(post("/echo", "a", "Origin: https://evil.example\r\n")).status);
  EXPECT_TRUE(client.at_end());
}

TEST(HttpFaults, AnAddressThatIsTakenIsNamed) {
  TestServer s;
  const std::string port = std::to_string(s.server.port());
  try {
    HttpServer second({.port = s.server.port()}, [](const HttpServerRequest&, const std::shared_ptr<Responder>&) {});
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), ::testing::StartsWith("cannot listen on 127.0.0.1 port " + port + ": "));
  }
  EXPECT_EQ("127.0.0.1:" + port, s.server.address());
  EXPECT_TRUE(s.server.loopback());
}

}  // namespace
}  // namespace fathom
