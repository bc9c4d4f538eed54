// HttpServer: the socket that listens and the I/O threads; each connection belongs to one of them for its whole life.
#include "server/http/http.h"

#include <sys/resource.h>

#include <algorithm>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/ip/v6_only.hpp>
#include <boost/asio/post.hpp>
#include <thread>

#include "base/error.h"
#include "base/log.h"
#include "server/http/connection.h"

namespace fathom {
namespace asio = boost::asio;
using asio::ip::tcp;
using http::Connection;
using http::ServerState;
using http::Worker;

namespace {

constexpr auto kAcceptPause = std::chrono::milliseconds(100);
constexpr size_t kMostTurningAway = 256;  // connections beyond max_connections that are told so; more are just closed

/// Lets the process open as many files as the connections need, and takes fewer connections where it must not: they
/// would wait unseen in the system's queue instead of getting their 503.
HttpServerOptions with_open_files(HttpServerOptions options) {
  constexpr rlim_t kOthers = kMostTurningAway + 256;
  const rlim_t wanted = options.max_connections + kOthers;
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= wanted) return options;
  limit.rlim_cur = std::min(limit.rlim_max, wanted);
  if (setrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur == wanted) return options;
  const size_t fewer = std::max<rlim_t>(limit.rlim_cur, kOthers + 16) - kOthers;
  log(LogLevel::kWarning, cat("the system allows ", limit.rlim_cur, " open files: at most ", fewer,
                              " connections instead of ", options.max_connections));
  options.max_connections = fewer;
  return options;
}

}  // namespace

struct HttpServer::Impl {
  std::shared_ptr<ServerState> state;
  std::vector<std::shared_ptr<Worker>> workers;  // the first one accepts
  std::vector<asio::executor_work_guard<asio::io_context::executor_type>> guards;
  std::vector<std::thread> threads;
  tcp::acceptor acceptor;
  asio::steady_timer pause;
  tcp::endpoint endpoint;
  size_t next = 0;  // the worker of the next connection
  bool started = false, stopped = false;

  Impl(HttpServerOptions options, HttpHandler handler)
      : state(std::make_shared<ServerState>(with_open_files(std::move(options)), std::move(handler))),
        workers(make_workers(state->options.io_threads)),
        acceptor(workers[0]->context),
        pause(workers[0]->context) {
    for (const auto& worker : workers) guards.emplace_back(worker->context.get_executor());
    listen();
    state->loopback = endpoint.address().is_loopback();
  }

  static std::vector<std::shared_ptr<Worker>> make_workers(int threads) {
    check(threads >= 1, "an HTTP server without an I/O thread");
    std::vector<std::shared_ptr<Worker>> out;
    out.reserve(static_cast<size_t>(threads));
    for (int i = 0; i < threads; ++i) out.push_back(std::make_shared<Worker>());
    return out;
  }

  /// A thread's whole life. What one connection throws (no memory) must not end the others.
  static void run(Worker& worker) {
    for (;;) {
      try {
        worker.context.run();
        return;
      } catch (const std::exception& error) {
        log(LogLevel::kError, cat("an I/O thread: ", error.what()));
      }
    }
  }

  void listen() {
    const HttpServerOptions& options = state->options;
    boost::system::error_code error;
    const auto require = [&] {
      if (error) throw Error(cat("cannot listen on ", options.host, " port ", options.port, ": ", error.message()));
    };
    tcp::resolver resolver(workers[0]->context);
    const auto found = resolver.resolve(options.host, std::to_string(options.port), tcp::resolver::passive, error);
    require();
    endpoint = found.begin()->endpoint();
    acceptor.open(endpoint.protocol(), error);
    require();
    acceptor.set_option(tcp::acceptor::reuse_address(true), error);
    if (endpoint.address().is_v6()) acceptor.set_option(asio::ip::v6_only(false), error);  // "::" takes IPv4, too
    acceptor.bind(endpoint, error);
    require();
    acceptor.listen(asio::socket_base::max_listen_connections, error);
    require();
    endpoint = acceptor.local_endpoint();
  }

  void accept() {
    const std::shared_ptr<Worker>& worker = workers[next++ % workers.size()];
    acceptor.async_accept(worker->context, [this, worker](boost::system::error_code error, tcp::socket socket) {
      if (error == asio::error::operation_aborted || !acceptor.is_open()) return;
      if (error == asio::error::connection_aborted) return accept();  // the client gave up while it waited
      if (error) {
        log(LogLevel::kWarning, cat("cannot accept a connection: ", error.message()));  // no descriptors or memory
        pause.expires_after(kAcceptPause);
        return pause.async_wait([this](boost::system::error_code stop) {
          if (!stop && acceptor.is_open()) accept();
        });
      }
      accept();  // first: what this connection throws must not end the accepting
      take(worker, std::move(socket));
    });
  }

  void take(const std::shared_ptr<Worker>& worker, tcp::socket socket) {
    ++state->accepted;
    const uint64_t open = state->open;
    const bool turn_away = open >= state->options.max_connections;
    if (turn_away) ++state->turned_away;
    if (open >= state->options.max_connections + kMostTurningAway) return;  // closes
    const auto connection = std::make_shared<Connection>(state, worker, std::move(socket));
    asio::post(worker->context, [connection, turn_away] { connection->start(turn_away); });
  }

  /// Runs `what` for every connection of a worker, on its thread.
  template <class What>
  static void each_connection(const std::shared_ptr<Worker>& worker, What what) {
    asio::post(worker->context, [worker, what] {
      const std::vector<std::shared_ptr<Connection>> all(worker->connections.begin(), worker->connections.end());
      for (const auto& connection : all) what(*connection);
    });
  }

  void stop_accepting() {
    asio::post(workers[0]->context, [this] {
      boost::system::error_code ignored;
      acceptor.close(ignored);
      pause.cancel();
    });
  }
};

HttpServer::HttpServer(HttpServerOptions options, HttpHandler handler)
    : impl_(std::make_unique<Impl>(std::move(options), std::move(handler))) {}

HttpServer::~HttpServer() { stop(); }

uint16_t HttpServer::port() const { return impl_->endpoint.port(); }
std::string HttpServer::address() const { return cat(impl_->endpoint); }
bool HttpServer::loopback() const { return impl_->state->loopback; }

void HttpServer::start() {
  Impl& s = *impl_;
  check(!s.started, "HttpServer::start() twice");
  s.started = true;
  asio::post(s.workers[0]->context, [&s] { s.accept(); });
  for (const auto& worker : s.workers) s.threads.emplace_back([worker] { Impl::run(*worker); });
}

bool HttpServer::drain() {
  Impl& s = *impl_;
  if (!s.started || s.stopped) return true;
  s.state->draining = true;
  s.stop_accepting();
  for (const auto& worker : s.workers) Impl::each_connection(worker, [](Connection& c) { c.close_if_idle(); });
  bool done = false;
  {
    std::unique_lock lock(s.state->mutex);
    done = s.state->all_done.wait_for(lock, s.state->options.drain_timeout, [&] { return s.state->active == 0; });
  }
  stop();
  return done;
}

void HttpServer::stop() {
  Impl& s = *impl_;
  if (!s.started || s.stopped) return;
  s.stopped = true;
  s.state->draining = true;
  s.stop_accepting();
  for (const auto& worker : s.workers) Impl::each_connection(worker, [](Connection& c) { c.close(); });
  s.guards.clear();
  for (std::thread& thread : s.threads) thread.join();
}

HttpCounters HttpServer::counters() const {
  const ServerState& s = *impl_->state;
  return {.open = s.open,
          .accepted = s.accepted,
          .turned_away = s.turned_away,
          .requests = s.requests,
          .refused = s.refused,
          .cut = s.cut,
          .bytes_in = s.bytes_in,
          .bytes_out = s.bytes_out};
}

}  // namespace fathom
