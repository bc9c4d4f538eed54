// One answer on its way: what the handler says through a Responder becomes framed bytes in a queue, which the
// connection takes and writes. Knows no sockets, so that its rules are tested without any. Any thread; a mutex guards
// the queue. Called by connection.cc. Source: RFC 9112 sections 6 and 7 (framing).
#pragma once
#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

#include "server/http/http.h"

namespace fathom::http {

struct AnswerRules {
  bool http10 = false;
  bool head_only = false;   ///< the method is HEAD: everything but the body
  bool keep_alive = true;   ///< the connection may stay open
  std::string request_id;   ///< empty: none is sent
  HttpHeaders headers;      ///< besides those of the handler
  size_t max_queued_bytes;  ///< of a stream
};

class Exchange {
 public:
  using Clock = std::chrono::steady_clock;

  /// `wake` is called, by any thread, when cut() or take() have something to tell; once per take().
  Exchange(AnswerRules rules, std::function<void()> wake) : rules_(std::move(rules)), wake_(std::move(wake)) {}

  /// The handler's end. When the last reference to it goes while the answer is not complete, that is what Responder
  /// says.
  static std::shared_ptr<Responder> responder(std::shared_ptr<Exchange> exchange);

  // As Responder says.
  void send(int status, std::string_view content_type, std::string_view body, const HttpHeaders& headers);
  void begin(int status, std::string_view content_type, const HttpHeaders& headers);
  void write(std::string_view data);
  void end();
  void heartbeat(std::chrono::milliseconds interval, std::string text);
  void on_close(std::function<void()> gone);
  bool begun() const;
  bool closed() const;
  size_t queued_bytes() const;
  /// Answers with an error, or cuts the connection if an answer has begun.
  void fail(int status, std::string_view why);
  const std::string& request_id() const { return rules_.request_id; }

  // The connection's end, its I/O thread only.
  /// Whether the connection must be cut: the client is too slow, or nobody can complete the answer any more.
  bool cut() const;
  /// Swaps the queue with `out`, which must be empty; true if the answer ends with these bytes.
  bool take(std::string& out);
  /// So many of the bytes taken are with the system.
  void sent(size_t bytes);
  /// Queues the heartbeat if it is due; returns when the next one may be, or nullopt where there is none.
  std::optional<Clock::time_point> beat(Clock::time_point now);
  /// The connection is closed: calls the function of on_close() if the answer is not complete.
  void disconnect();
  bool complete() const;
  /// After the answer is complete: whether the connection may serve another request.
  bool keep_alive() const;

 private:
  enum class Phase { kWaiting, kStreaming, kComplete };
  void start(int status, std::string_view content_type, const HttpHeaders& headers, std::optional<size_t> length);
  void append(std::string_view data);
  std::function<void()> finish();
  void send_locked(int status, std::string_view content_type, std::string_view body, const HttpHeaders& headers,
                   std::unique_lock<std::mutex> lock);
  void set_cut();
  /// Unlocks, and wakes the connection if that has not been done since its last take().
  void wake(std::unique_lock<std::mutex> lock);

  mutable std::mutex mutex_;
  AnswerRules rules_;
  std::function<void()> wake_, gone_;
  Phase phase_ = Phase::kWaiting;
  std::string queue_;
  size_t taken_ = 0;  // bytes taken and not yet sent
  bool woken_ = false, begun_by_heartbeat_ = false;
  bool closed_ = false, cut_ = false;  // cut_ only until disconnect()
  bool chunked_ = false, no_body_ = false;
  std::chrono::milliseconds interval_{0};
  std::string beat_;
  Clock::time_point last_write_{};
};

}  // namespace fathom::http
