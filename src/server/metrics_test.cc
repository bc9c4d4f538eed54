#include "server/metrics.h"

#include <gtest/gtest.h>

#include "server/request_record.h"

namespace fathom {
namespace {

TEST(Metrics, HistogramCountsUpToEachBound) {
  Histogram h(1, 2);
  for (const double x : {0.5, 1.0, 1.5, 4.0, 1e9}) h.add(x);
  std::string text;
  h.write(text, "t", R"(m="a")");
  EXPECT_NE(text.find("t_bucket{m=\"a\",le=\"1\"} 2\n"), std::string::npos) << text;
  EXPECT_NE(text.find("t_bucket{m=\"a\",le=\"2\"} 3\n"), std::string::npos) << text;
  EXPECT_NE(text.find("t_bucket{m=\"a\",le=\"4\"} 4\n"), std::string::npos) << text;
  EXPECT_NE(text.find("t_bucket{m=\"a\",le=\"524288\"} 4\n"), std::string::npos) << text;
  EXPECT_NE(text.find("t_bucket{m=\"a\",le=\"+Inf\"} 5\n"), std::string::npos) << text;
  EXPECT_NE(text.find("t_count{m=\"a\"} 5\n"), std::string::npos) << text;
}

TEST(Metrics, LabelsAreEscaped) {
  ModelHost host({{.name = "a\"b\\c\nd", .path = "nowhere", .options = {}, .chat_template = ""}}, {});
  Metrics metrics;
  const std::string page = metrics.page(host, nullptr);
  EXPECT_NE(page.find(R"(vllm:num_requests_running{model_name="a\"b\\c\nd"} 0)"), std::string::npos) << page;
}

/// A client that takes everything, or is gone.
class Client final : public Responder {
 public:
  void send(int, std::string_view, std::string, HttpHeaders) override {}
  void begin(int, std::string_view, HttpHeaders) override { begun_ = true; }
  void write(std::string) override {}
  void end() override {}
  void heartbeat(std::chrono::milliseconds, std::string) override {}
  void on_close(std::function<void()>) override {}
  bool begun() const override { return begun_; }
  bool closed() const override { return gone; }
  size_t queued_bytes() const override { return 0; }
  bool gone = false;

 private:
  bool begun_ = false;
};

TEST(RequestRecord, SaysHowTheRequestEnded) {
  HttpServerRequest request;
  request.id = "id-1", request.method = "GET", request.path = "/x";
  const auto status_after = [&](const auto& what) {
    int status = 0, calls = 0;
    {
      const auto client = std::make_shared<Client>();
      RecordedResponder responder(client, request, [&](const RequestRecord& r) { status = r.status, ++calls; });
      what(responder, *client);
    }
    EXPECT_EQ(calls, 1);
    return status;
  };
  EXPECT_EQ(status_after([](Responder& r, Client&) { r.send(404, "t", "x"); }), 404);
  EXPECT_EQ(status_after([](Responder& r, Client&) { r.begin(200, "t"), r.end(); }), 200);
  EXPECT_EQ(status_after([](Responder&, Client&) {}), 500);
  EXPECT_EQ(status_after([](Responder& r, Client& c) { r.begin(200, "t"), c.gone = true, r.end(); }), 499);
  EXPECT_EQ(status_after([](Responder& r, Client& c) { c.gone = true, r.send(200, "t", "x"); }), 499);
}

}  // namespace
}  // namespace fathom
