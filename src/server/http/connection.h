// One TCP connection: reads requests, lets access.h judge them, calls the handler, writes the answer, and begins anew.
// While an answer is made it goes on reading, so that it sees at once when the client goes away. Callbacks of Asio, all
// on the one thread of its Worker; nothing here locks. Only connection.cc and server.cc see Asio.
#pragma once
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "server/http/exchange.h"
#include "server/http/inflate.h"
#include "server/http/request_parser.h"
#include "server/http/server_state.h"

namespace fathom::http {

class Connection;

/// One I/O thread's own: its loop, its connections, and the buffer into which all of them read.
struct Worker {
  boost::asio::io_context context{1};
  std::unordered_set<std::shared_ptr<Connection>> connections;
  std::vector<char> buffer = std::vector<char>(size_t{64} << 10);
};

class Connection : public std::enable_shared_from_this<Connection> {
 public:
  Connection(std::shared_ptr<ServerState> state, std::shared_ptr<Worker> worker, boost::asio::ip::tcp::socket socket);
  ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  /// Reads requests, or, where turn_away, answers 503 without reading.
  void start(bool turn_away);
  /// Closes the connection if it waits for a request of which nothing has come.
  void close_if_idle();
  void close();

 private:
  using Clock = std::chrono::steady_clock;
  using ErrorCode = boost::system::error_code;
  enum class Stage { kReading, kInflating, kAnswering, kLingering, kClosed };

  // Reading.
  void wait_readable();
  void watch_unread();
  void on_readable();
  void on_end_of_input();
  void process(std::string_view bytes);
  void on_head(bool body_has_come);
  void account_body(size_t bytes);
  void set_read_deadline();
  // A request is there.
  void on_request();
  void inflate_step();
  void dispatch();
  void refuse(int status, std::string_view why);
  std::shared_ptr<Exchange> new_exchange(bool keep_alive);
  // Answering.
  void flush();
  void write_some();
  void cut();
  void on_answered();
  void linger();
  void schedule_beat();
  // Time.
  void set_deadline(Clock::time_point deadline);
  void wait_for_deadline();
  void on_deadline();

  std::shared_ptr<ServerState> state_;
  std::shared_ptr<Worker> worker_;
  boost::asio::ip::tcp::socket socket_;
  boost::asio::steady_timer deadline_timer_, beat_timer_, watch_timer_;
  Clock::time_point deadline_ = Clock::time_point::max(), timer_at_ = Clock::time_point::max();
  Clock::time_point beat_at_ = Clock::time_point::max(), body_begin_{};
  std::string peer_;

  Stage stage_ = Stage::kReading;
  bool counted_active_ = false;
  bool waits_readable_ = false, watches_ = false, writes_ = false, end_of_input_ = false, discards_input_ = false;
  bool head_seen_ = false, head_deadline_set_ = true;
  RequestParser parser_;
  std::string input_;     // came behind the request that is being answered
  size_t accounted_ = 0;  // our part of ServerState::buffered_bytes
  std::optional<Inflater> inflater_;
  std::shared_ptr<Exchange> exchange_;
  HttpHeaders cors_;
  std::string output_;  // being written
  size_t written_ = 0;
};

}  // namespace fathom::http
