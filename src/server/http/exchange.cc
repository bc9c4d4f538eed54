#include "server/http/exchange.h"

#include <array>
#include <charconv>
#include <utility>

#include "base/error.h"
#include "base/log.h"
#include "server/http/response.h"

namespace fathom::http {
namespace {

class Handle final : public Responder {
 public:
  explicit Handle(std::shared_ptr<Exchange> exchange) : exchange_(std::move(exchange)) {}
  ~Handle() override { exchange_->fail(500, "the server gave no answer"); }
  void send(int status, std::string_view content_type, std::string body, HttpHeaders headers) override {
    exchange_->send(status, content_type, body, headers);
  }
  void begin(int status, std::string_view content_type, HttpHeaders headers) override {
    exchange_->begin(status, content_type, headers);
  }
  void write(std::string data) override { exchange_->write(data); }
  void end() override { exchange_->end(); }
  void heartbeat(std::chrono::milliseconds interval, std::string text) override {
    exchange_->heartbeat(interval, std::move(text));
  }
  void on_close(std::function<void()> gone) override { exchange_->on_close(std::move(gone)); }
  bool begun() const override { return exchange_->begun(); }
  bool closed() const override { return exchange_->closed(); }
  size_t queued_bytes() const override { return exchange_->queued_bytes(); }

 private:
  std::shared_ptr<Exchange> exchange_;
};

void call(const std::function<void()>& gone) {
  if (!gone) return;
  try {
    gone();
  } catch (const std::exception& error) {
    log(LogLevel::kError, cat("a function that Responder::on_close() was given threw: ", error.what()));
  }
}

}  // namespace

std::shared_ptr<Responder> Exchange::responder(std::shared_ptr<Exchange> exchange) {
  return std::make_shared<Handle>(std::move(exchange));
}

void Exchange::send(int status, std::string_view content_type, std::string_view body, const HttpHeaders& headers) {
  std::unique_lock lock(mutex_);
  if (closed_ || phase_ == Phase::kComplete) return;
  check(phase_ == Phase::kWaiting || begun_by_heartbeat_, "Responder::send() behind begin()");
  send_locked(status, content_type, body, headers, std::move(lock));
}

void Exchange::send_locked(int status, std::string_view content_type, std::string_view body, const HttpHeaders& headers,
                           std::unique_lock<std::mutex> lock) {
  if (phase_ == Phase::kWaiting) start(status, content_type, headers, body.size());
  append(body);
  const auto gone = finish();
  wake(std::move(lock));
}

void Exchange::begin(int status, std::string_view content_type, const HttpHeaders& headers) {
  std::unique_lock lock(mutex_);
  if (closed_ || phase_ == Phase::kComplete) return;
  check(phase_ == Phase::kWaiting || begun_by_heartbeat_, "Responder::begin() twice");
  if (phase_ == Phase::kWaiting) start(status, content_type, headers, std::nullopt);
  begun_by_heartbeat_ = false;
  wake(std::move(lock));
}

void Exchange::write(std::string_view data) {
  std::unique_lock lock(mutex_);
  if (closed_ || phase_ == Phase::kComplete) return;
  check(phase_ == Phase::kStreaming, "Responder::write() before begin()");
  if (queue_.size() + taken_ + data.size() > rules_.max_queued_bytes) {
    set_cut();
  } else {
    append(data);
  }
  wake(std::move(lock));
}

void Exchange::end() {
  std::unique_lock lock(mutex_);
  if (closed_ || phase_ == Phase::kComplete) return;
  check(phase_ == Phase::kStreaming, "Responder::end() before begin()");
  const auto gone = finish();
  wake(std::move(lock));
}

void Exchange::fail(int status, std::string_view why) {
  std::unique_lock lock(mutex_);
  if (closed_ || phase_ == Phase::kComplete) return;
  if (phase_ == Phase::kWaiting || begun_by_heartbeat_)
    return send_locked(status, "application/json", error_body(status, why), {}, std::move(lock));
  set_cut();
  wake(std::move(lock));
}

void Exchange::set_cut() {
  closed_ = cut_ = true;
  woken_ = false;  // a connection that writes hears of nothing else until it can take(): wake it again
  queue_ = {};
}

void Exchange::heartbeat(std::chrono::milliseconds interval, std::string text) {
  std::unique_lock lock(mutex_);
  if (closed_ || phase_ == Phase::kComplete) return;
  interval_ = interval;
  beat_ = std::move(text);
  last_write_ = Clock::now();
  wake(std::move(lock));
}

void Exchange::on_close(std::function<void()> gone) {
  std::unique_lock lock(mutex_);
  if (phase_ == Phase::kComplete) return;
  // A stream that was cut but whose connection is still open is told by disconnect(), as all others.
  if (!closed_ || cut_) {
    gone_ = std::move(gone);
    return;
  }
  lock.unlock();
  call(gone);
}

bool Exchange::begun() const {
  const std::lock_guard lock(mutex_);
  return phase_ != Phase::kWaiting;
}

bool Exchange::closed() const {
  const std::lock_guard lock(mutex_);
  return closed_;
}

size_t Exchange::queued_bytes() const {
  const std::lock_guard lock(mutex_);
  return queue_.size() + taken_;
}

bool Exchange::cut() const {
  const std::lock_guard lock(mutex_);
  return cut_;
}

bool Exchange::take(std::string& out) {
  const std::lock_guard lock(mutex_);
  woken_ = false;
  out.swap(queue_);
  taken_ = out.size();
  return phase_ == Phase::kComplete;
}

void Exchange::sent(size_t bytes) {
  const std::lock_guard lock(mutex_);
  taken_ -= bytes;
}

std::optional<Exchange::Clock::time_point> Exchange::beat(Clock::time_point now) {
  const std::lock_guard lock(mutex_);
  if (interval_.count() <= 0 || closed_ || phase_ == Phase::kComplete) return std::nullopt;
  if (now - last_write_ < interval_) return last_write_ + interval_;
  // Where bytes wait already, more of them keep nobody awake.
  if (queue_.empty() && taken_ == 0) {
    if (phase_ == Phase::kWaiting) {
      start(200, "application/json", {}, std::nullopt);
      begun_by_heartbeat_ = true;
    }
    append(beat_);
  }
  last_write_ = now;
  return now + interval_;
}

void Exchange::disconnect() {
  std::unique_lock lock(mutex_);
  std::function<void()> gone;
  gone.swap(gone_);
  queue_ = {};
  cut_ = false;
  if (phase_ == Phase::kComplete) return;
  closed_ = true;
  lock.unlock();
  call(gone);
}

bool Exchange::complete() const {
  const std::lock_guard lock(mutex_);
  return phase_ == Phase::kComplete;
}

bool Exchange::keep_alive() const {
  const std::lock_guard lock(mutex_);
  return rules_.keep_alive;
}

/// The head: status, type, framing. length: nullopt for streams.
void Exchange::start(int status, std::string_view content_type, const HttpHeaders& headers,
                     std::optional<size_t> length) {
  std::string head = response_head(status, headers);
  if (!content_type.empty()) add_header(head, "Content-Type", content_type);
  for (const auto& [name, value] : rules_.headers) add_header(head, name, value);
  if (!rules_.request_id.empty()) add_header(head, "X-Request-Id", rules_.request_id);
  no_body_ = rules_.head_only || !has_body(status);
  if (length) {
    if (has_body(status)) add_header(head, "Content-Length", std::to_string(*length));
  } else if (has_body(status)) {
    chunked_ = !rules_.http10;
    if (chunked_)
      add_header(head, "Transfer-Encoding", "chunked");
    else
      rules_.keep_alive = false;  // the stream ends with the connection
  }
  if (rules_.keep_alive == rules_.http10) add_header(head, "Connection", rules_.keep_alive ? "keep-alive" : "close");
  head += "\r\n";
  queue_ += head;
  phase_ = Phase::kStreaming;
  last_write_ = Clock::now();
}

/// One piece of the body. An empty one is nothing: as a chunk it would be the last.
void Exchange::append(std::string_view data) {
  if (no_body_ || data.empty()) return;
  if (!chunked_) {
    queue_ += data;
  } else {
    std::array<char, 16> size;
    const auto result = std::to_chars(size.begin(), size.end(), data.size(), 16);
    queue_.append(size.data(), result.ptr).append("\r\n").append(data).append("\r\n");
  }
  last_write_ = Clock::now();
}

/// Returns the function of on_close(), to be destroyed when the mutex is free: what it holds may call us.
std::function<void()> Exchange::finish() {
  if (chunked_ && !no_body_) queue_ += "0\r\n\r\n";
  phase_ = Phase::kComplete;
  return std::exchange(gone_, nullptr);
}

void Exchange::wake(std::unique_lock<std::mutex> lock) {
  const bool asleep = !std::exchange(woken_, true);
  lock.unlock();
  if (asleep) wake_();
}

}  // namespace fathom::http
