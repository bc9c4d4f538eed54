// For the tests of the API's protocols: requests to an Api over a tiny model with random weights, and what it answered.
#pragma once
#include <gtest/gtest.h>

#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>

#include "base/json.h"
#include "server/api/api.h"
#include "tests/testing.h"

namespace fathom::testing {

/// Records an answer.
class RecordedAnswer final : public Responder {
 public:
  int status = 0;
  std::string content_type, body;
  HttpHeaders headers;

  void wait() {
    std::unique_lock lock(mutex_);
    EXPECT_TRUE(complete_.wait_for(lock, std::chrono::seconds(120), [this] { return done_; })) << "no answer came";
  }
  std::string header(std::string_view name) const {
    for (const auto& [key, value] : headers)
      if (key == name) return value;
    return "";
  }
  json::object parsed() const { return parse_json(body, "the answer").as_object(); }

  void send(int s, std::string_view type, std::string text, HttpHeaders fields) override {
    begin(s, type, std::move(fields));
    write(std::move(text));
    end();
  }
  void begin(int s, std::string_view type, HttpHeaders fields) override {
    const std::lock_guard lock(mutex_);
    status = s, content_type = type, headers = std::move(fields);
  }
  void write(std::string data) override {
    const std::lock_guard lock(mutex_);
    body += data;
  }
  void end() override {
    const std::lock_guard lock(mutex_);
    done_ = true;
    complete_.notify_all();
  }
  void heartbeat(std::chrono::milliseconds, std::string) override {}
  void on_close(std::function<void()>) override {}
  bool begun() const override {
    const std::lock_guard lock(mutex_);
    return status != 0;
  }
  bool closed() const override { return false; }
  size_t queued_bytes() const override { return 0; }

 private:
  mutable std::mutex mutex_;
  std::condition_variable complete_;
  bool done_ = false;
};

/// What a bad request is told; "" for one that is taken.
inline std::string refusal(const std::function<void()>& read) {
  try {
    read();
  } catch (const ApiError& e) {
    EXPECT_EQ(e.status, 400);
    return e.what();
  }
  return "";
}

/// "think" opens its thinking, "plain" has none.
class ApiTest : public ::testing::Test {
 protected:
  static constexpr const char* kTemplate =
      "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}{% if add_generation_prompt %}assistant: ";
  void SetUp() override {
    const auto path = golden_dir() / "gguf" / "qwen2.gguf";
    if (!std::filesystem::exists(path)) GTEST_SKIP() << "needs golden/gguf/qwen2.gguf";
    EngineOptions options{.profile = Profile::kExact, .threads = 1, .ctx = 512, .sequences = 2};
    std::vector<HostedModel> models{
        {"think", path, options, std::string(kTemplate) + "<think>\n{% endif %}"},
        {"plain", path, options, std::string(kTemplate) + "{% endif %}"},
    };
    host = std::make_unique<ModelHost>(std::move(models), ModelHost::Options{});
    api = std::make_unique<Api>(*host, ApiOptions{.aliases = {{"claude-x", "plain", {}}}, .defaults = {.seed = 1}});
  }

  /// `body` without one: GET.
  std::shared_ptr<RecordedAnswer> ask(const std::string& path, const std::string& body = "", HttpHeaders headers = {}) {
    auto answer = std::make_shared<RecordedAnswer>();
    HttpServerRequest request{
        body.empty() ? "GET" : "POST", path, "", std::move(headers), body, "req-1", "127.0.0.1:1"};
    api->handle(std::move(request), answer);
    answer->wait();
    return answer;
  }

  std::unique_ptr<ModelHost> host;
  std::unique_ptr<Api> api;
};

}  // namespace fathom::testing
