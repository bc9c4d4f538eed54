#include "server/http/connection.h"

#include <poll.h>

#include <boost/asio/buffer.hpp>
#include <boost/asio/post.hpp>

#include "base/error.h"
#include "base/log.h"
#include "server/http/access.h"
#include "server/http/response.h"

namespace fathom::http {
namespace asio = boost::asio;
namespace {

constexpr auto kLingerTime = std::chrono::seconds(2);
constexpr auto kWatchInterval = std::chrono::milliseconds(500);
constexpr size_t kInflateStep = size_t{1} << 20;
constexpr size_t kKeptCapacity = size_t{256} << 10;  // of an output buffer
constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";

RequestLimits limits_of(const HttpServerOptions& options) {
  return {options.max_header_bytes, options.max_headers, options.max_body_bytes};
}

}  // namespace

Connection::Connection(std::shared_ptr<ServerState> state, std::shared_ptr<Worker> worker, asio::ip::tcp::socket socket)
    : state_(std::move(state)),
      worker_(std::move(worker)),
      socket_(std::move(socket)),
      deadline_timer_(worker_->context),
      beat_timer_(worker_->context),
      watch_timer_(worker_->context),
      parser_(limits_of(state_->options)) {
  ++state_->open;
}

Connection::~Connection() { --state_->open; }

void Connection::start(bool turn_away) {
  if (state_->draining) return;  // accepted too late: closes
  worker_->connections.insert(shared_from_this());
  state_->begin_active();
  counted_active_ = true;
  ErrorCode error, ignored;
  const auto peer = socket_.remote_endpoint(error);
  socket_.non_blocking(true, ignored);
  socket_.set_option(asio::ip::tcp::no_delay(true), ignored);
  socket_.set_option(asio::socket_base::keep_alive(true), ignored);
  if (error) return close();  // gone already
  peer_ = cat(peer);
  if (turn_away) return refuse(503, "too many connections: try again in a second");
  set_deadline(Clock::now() + state_->options.header_timeout);
  wait_readable();
}

void Connection::close_if_idle() {
  if (stage_ == Stage::kReading && !parser_.begun()) close();
}

void Connection::close() {
  if (stage_ == Stage::kClosed) return;
  const auto self = shared_from_this();
  stage_ = Stage::kClosed;
  ErrorCode ignored;
  socket_.close(ignored);
  deadline_timer_.cancel();
  beat_timer_.cancel();
  watch_timer_.cancel();
  account_body(0);
  if (exchange_) std::exchange(exchange_, nullptr)->disconnect();
  if (std::exchange(counted_active_, false)) state_->end_active();
  worker_->connections.erase(self);
}

void Connection::cut() {
  ++state_->cut;
  ErrorCode ignored;
  // The system must not keep what the client does not read, either.
  if (writes_) socket_.set_option(asio::socket_base::linger(true, 0), ignored);
  close();
}

// ---- Reading. No connection has a buffer of its own while it waits: thousands of idle ones cost little.

void Connection::wait_readable() {
  if (waits_readable_ || end_of_input_ || stage_ == Stage::kClosed) return;
  // With so much waiting already, nothing is read until it is used: the client's system holds the rest back.
  if (input_.size() >= state_->options.max_header_bytes) return watch_unread();
  waits_readable_ = true;
  socket_.async_wait(asio::socket_base::wait_read, [self = shared_from_this()](ErrorCode error) {
    self->waits_readable_ = false;
    if (self->stage_ == Stage::kClosed) return;
    if (error) return self->close();
    self->on_readable();
  });
}

/// Behind bytes that are not read, a client's leaving is not seen by reading: the system is asked now and then.
void Connection::watch_unread() {
  if (std::exchange(watches_, true)) return;
  watch_timer_.expires_after(kWatchInterval);
  watch_timer_.async_wait([self = shared_from_this()](ErrorCode error) {
    self->watches_ = false;
    if (error || self->stage_ == Stage::kClosed || self->waits_readable_) return;
    pollfd p{self->socket_.native_handle(), POLLRDHUP, 0};
    const bool gone = poll(&p, 1, 0) > 0;
    if (gone && !(self->stage_ == Stage::kAnswering && self->exchange_->complete())) return self->close();
    self->wait_readable();
  });
}

void Connection::on_readable() {
  ErrorCode error;
  std::vector<char>& buffer = worker_->buffer;
  const size_t n = socket_.read_some(asio::buffer(buffer), error);
  if (error == asio::error::would_block || error == asio::error::try_again) return wait_readable();
  if (error == asio::error::eof) return on_end_of_input();
  if (error) return close();
  state_->bytes_in += n;
  const std::string_view bytes(buffer.data(), n);
  if (stage_ == Stage::kReading)
    process(bytes);
  else if (!discards_input_)
    input_ += bytes;  // pipelined; waits for its turn
  wait_readable();
}

void Connection::on_end_of_input() {
  end_of_input_ = true;
  // A client that has closed its side is gone unless all of its answer is in our hands already.
  if (stage_ == Stage::kAnswering && exchange_->complete()) return;
  close();
}

void Connection::process(std::string_view bytes) {
  try {
    while (!bytes.empty() && stage_ == Stage::kReading) {
      bytes.remove_prefix(parser_.feed(bytes));
      if (parser_.head_done() && !std::exchange(head_seen_, true)) on_head(!bytes.empty());
      if (stage_ == Stage::kReading && parser_.head_done()) account_body(parser_.request().body.size());
      if (stage_ == Stage::kReading && parser_.done()) on_request();
    }
    if (stage_ == Stage::kReading) set_read_deadline();
    if (!discards_input_) input_ = bytes;
  } catch (const Refused& refused) {
    refuse(refused.status(), refused.what());
  }
}

/// Throws Refused.
void Connection::on_head(bool body_has_come) {
  const HttpServerRequest& request = parser_.request();
  body_begin_ = Clock::now();
  check_access(request, parser_.host(), state_->options, state_->loopback);
  cors_ = cors_headers(request, state_->options);
  (void)is_compressed(request.header("Content-Encoding").value_or(""));
  if (!parser_.expects_continue() || parser_.done() || body_has_come) return;
  ErrorCode error;  // nothing else is being written: these few bytes fit, or the client does not read at all
  if (socket_.write_some(asio::buffer(kContinue), error) != kContinue.size()) close();
}

/// Sets our part of the memory that all bodies may take; 0 gives it back. Throws Refused (503) where it is used up.
void Connection::account_body(size_t bytes) {
  const size_t before = std::exchange(accounted_, bytes);
  const size_t all = state_->buffered_bytes += bytes - before;  // modulo 2^64: right when it shrinks, too
  if (bytes > before && all > state_->options.max_buffered_bytes)
    throw Refused(503, "too many requests are being received: try again in a second");
}

/// After bytes have come and more are needed.
void Connection::set_read_deadline() {
  const HttpServerOptions& options = state_->options;
  const auto now = Clock::now();
  if (!parser_.begun()) return;
  if (!parser_.head_done()) {
    // The whole head has one deadline: bytes that come one by one do not move it. The first request's runs already.
    if (!std::exchange(head_deadline_set_, true)) set_deadline(now + options.header_timeout);
    return;
  }
  const auto at_rate = std::chrono::seconds(parser_.request().body.size() / std::max<size_t>(1, options.min_body_rate));
  set_deadline(std::min(now + options.body_idle_timeout, body_begin_ + options.body_idle_timeout + at_rate));
}

// ---- A request is there.

void Connection::on_request() {
  stage_ = Stage::kInflating;
  set_deadline(Clock::time_point::max());
  HttpServerRequest& request = parser_.request();
  const std::string coding(request.header("Content-Encoding").value_or(""));
  if (!is_compressed(coding)) return dispatch();
  inflater_.emplace(coding, std::move(request.body), state_->options.max_body_bytes);
  inflate_step();
}

/// One piece, then the other connections' turn.
void Connection::inflate_step() {
  if (stage_ == Stage::kClosed) return;
  try {
    const bool done = inflater_->step(kInflateStep);
    account_body(inflater_->bytes());
    if (!done) return asio::post(worker_->context, [self = shared_from_this()] { self->inflate_step(); });
    parser_.request().body = inflater_->take();
    inflater_.reset();
    dispatch();
  } catch (const Refused& refused) {
    refuse(refused.status(), refused.what());
  }
}

void Connection::dispatch() {
  stage_ = Stage::kAnswering;
  account_body(0);
  const bool allowed = cors_.size() > 1;  // more than Vary
  exchange_ = new_exchange(parser_.keep_alive() && !state_->draining);
  HttpServerRequest request = std::move(parser_.request());
  if (is_preflight(request)) {
    if (allowed)
      exchange_->send(204, "", "", {});
    else
      exchange_->send(403, "application/json", error_body(403, "the header Origin: this origin is not allowed"), {});
    return;
  }
  ++state_->requests;
  request.id = exchange_->request_id();
  request.peer = peer_;
  // Ours lives on while an exception is handled: the answer is not forgotten yet.
  const std::shared_ptr<Responder> responder = Exchange::responder(exchange_);
  try {
    state_->handler(std::move(request), responder);
  } catch (const ResourceError& error) {
    exchange_->fail(503, error.what());
  } catch (const Error& error) {
    exchange_->fail(400, error.what());
  } catch (const std::exception& error) {
    log(LogLevel::kError, cat("request ", exchange_->request_id(), ": ", error.what()));
    exchange_->fail(500, "internal error");
  }
}

/// Answers with an error and closes: what follows in the connection cannot be trusted or is not wanted.
void Connection::refuse(int status, std::string_view why) {
  stage_ = Stage::kAnswering;
  discards_input_ = true;
  input_.clear();
  inflater_.reset();
  account_body(0);
  ++state_->refused;
  exchange_ = new_exchange(false);
  HttpHeaders headers;
  if (status == 415) headers.emplace_back("Accept-Encoding", "gzip, deflate");
  if (status == 503) headers.emplace_back("Retry-After", "1");
  exchange_->send(status, "application/json", error_body(status, why), headers);
}

std::shared_ptr<Exchange> Connection::new_exchange(bool keep_alive) {
  const HttpServerRequest& request = parser_.request();
  const auto id = request.header("X-Request-Id");
  AnswerRules rules{.http10 = parser_.http10(),
                    .head_only = request.method == "HEAD",
                    .keep_alive = keep_alive,
                    .request_id = id && sane_request_id(*id) ? std::string(*id) : new_request_id(),
                    .headers = std::exchange(cors_, {}),
                    .max_queued_bytes = state_->options.max_queued_bytes};
  return std::make_shared<Exchange>(std::move(rules), [worker = worker_, weak = weak_from_this()] {
    asio::post(worker->context, [weak] {
      if (const auto self = weak.lock()) self->flush();
    });
  });
}

// ---- Answering.

void Connection::flush() {
  if (stage_ != Stage::kAnswering) return;
  if (exchange_->cut()) return cut();  // also while a write waits for the client
  if (writes_) return;
  schedule_beat();
  const bool complete = exchange_->take(output_);
  if (output_.empty()) {
    set_deadline(Clock::time_point::max());
    if (complete) on_answered();
    return;
  }
  writes_ = true;
  written_ = 0;
  set_deadline(Clock::now() + state_->options.write_idle_timeout);
  write_some();
}

void Connection::write_some() {
  const auto rest = asio::buffer(output_.data() + written_, output_.size() - written_);
  socket_.async_write_some(rest, [self = shared_from_this()](ErrorCode error, size_t n) {
    if (self->stage_ == Stage::kClosed) return;
    if (error) return self->close();
    self->state_->bytes_out += n;
    self->exchange_->sent(n);
    self->written_ += n;
    if (self->written_ < self->output_.size()) {
      self->set_deadline(Clock::now() + self->state_->options.write_idle_timeout);
      return self->write_some();
    }
    self->output_.clear();
    if (self->output_.capacity() > kKeptCapacity) self->output_ = {};
    self->writes_ = false;
    self->flush();
  });
}

void Connection::on_answered() {
  const bool keep_alive = exchange_->keep_alive() && !state_->draining;
  exchange_.reset();
  beat_timer_.cancel();
  beat_at_ = Clock::time_point::max();
  if (!keep_alive) return linger();
  stage_ = Stage::kReading;
  parser_ = RequestParser(limits_of(state_->options));
  head_seen_ = head_deadline_set_ = false;
  set_deadline(Clock::now() + state_->options.keep_alive_timeout);
  if (!input_.empty()) process(std::exchange(input_, {}));
  if (end_of_input_ && stage_ == Stage::kReading) return close();
  wait_readable();
}

/// Closes our side and reads on for a while: a close with unread input would make the client's system throw our answer
/// away before the client has read it.
void Connection::linger() {
  stage_ = Stage::kLingering;
  if (std::exchange(counted_active_, false)) state_->end_active();
  ErrorCode error;
  socket_.shutdown(asio::ip::tcp::socket::shutdown_send, error);
  if (error || end_of_input_) return close();
  discards_input_ = true;
  input_ = {};
  set_deadline(Clock::now() + kLingerTime);
  wait_readable();
}

/// Sends a heartbeat that is due, and waits for the next.
void Connection::schedule_beat() {
  const auto due = exchange_->beat(Clock::now());
  if (!due || *due >= beat_at_) return;
  beat_at_ = *due;
  beat_timer_.expires_at(*due);
  beat_timer_.async_wait([self = shared_from_this()](ErrorCode error) {
    if (error) return;
    self->beat_at_ = Clock::time_point::max();
    if (self->stage_ != Stage::kAnswering) return;
    if (self->writes_) return self->schedule_beat();
    self->flush();
  });
}

// ---- Time. The deadline moves with every piece of input and output, the timer only when it fires.

void Connection::set_deadline(Clock::time_point deadline) {
  deadline_ = deadline;
  if (deadline_ < timer_at_) wait_for_deadline();
}

void Connection::wait_for_deadline() {
  timer_at_ = deadline_;
  deadline_timer_.expires_at(timer_at_);
  deadline_timer_.async_wait([self = shared_from_this()](ErrorCode error) {
    if (error || self->stage_ == Stage::kClosed) return;
    self->timer_at_ = Clock::time_point::max();
    if (Clock::now() >= self->deadline_) return self->on_deadline();
    if (self->deadline_ != Clock::time_point::max()) self->wait_for_deadline();
  });
}

void Connection::on_deadline() {
  if (stage_ != Stage::kReading || !parser_.begun()) {
    return stage_ == Stage::kAnswering ? cut() : close();
  }
  refuse(408, parser_.head_done() ? "the body comes too slowly" : "the request's head comes too slowly");
}

}  // namespace fathom::http
