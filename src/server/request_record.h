// What is known of one request when it is over: for the log of requests and the count of statuses. Never a text of the
// client's or of the model's. A RecordedResponder goes with the request from the handler to the last event, and tells
// what it has seen when the last who answers lets it go.
#pragma once
#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "engine/answer.h"
#include "server/http/http.h"

namespace fathom {

struct RequestRecord {
  std::string id, method, path;
  std::string model;  ///< the one that answered; empty: none was asked
  std::string key;    ///< the name of the key that was asked with; empty: none was needed
  int status = 0;     ///< 499: the client went away before the answer was complete
  size_t prompt_tokens = 0, new_tokens = 0, cached_tokens = 0, thinking_tokens = 0;
  std::optional<double> queue_s, first_token_s;  ///< of the first choice
  double duration_s = 0;
  std::vector<std::string> finish_reasons;  ///< one a choice

  /// Adds a choice.
  void add(const std::string& model_name, const Answer& answer);
  /// One line of JSON, without a line's end. `time`: Unix time, s.
  std::string line(double time) const;
};

class RecordedResponder final : public Responder {
 public:
  using Over = std::function<void(const RequestRecord&)>;
  /// `over` is called by the destructor, on any thread; it must not throw or block.
  RecordedResponder(std::shared_ptr<Responder> inner, const HttpServerRequest& request, Over over);
  ~RecordedResponder() override;

  void send(int status, std::string_view content_type, std::string body, HttpHeaders headers) override;
  void begin(int status, std::string_view content_type, HttpHeaders headers) override;
  void write(std::string data) override { inner_->write(std::move(data)); }
  void end() override;
  void heartbeat(std::chrono::milliseconds interval, std::string text) override {
    inner_->heartbeat(interval, std::move(text));
  }
  void on_close(std::function<void()> gone) override { inner_->on_close(std::move(gone)); }
  bool begun() const override { return inner_->begun(); }
  bool closed() const override { return inner_->closed(); }
  size_t queued_bytes() const override { return inner_->queued_bytes(); }

  /// Whose request this is, before anybody answers it.
  void name_key(const std::string& name) { record_.key = name; }
  /// Adds a choice to the record. Any thread.
  void add(const std::string& model_name, const Answer& answer);

 private:
  const std::shared_ptr<Responder> inner_;
  const Over over_;
  const std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
  std::mutex mutex_;  // of what follows
  RequestRecord record_;
  bool complete_ = false;
};

/// Notes an answer in the record of its request, where there is one.
void record_answer(Responder& responder, const std::string& model_name, const Answer& answer);

}  // namespace fathom
