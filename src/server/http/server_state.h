// What the connections of one server share. Any thread. Used by server.cc and connection.cc.
#pragma once
#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <mutex>

#include "server/http/http.h"

namespace fathom::http {

struct ServerState {
  ServerState(HttpServerOptions o, HttpHandler h) : options(std::move(o)), handler(std::move(h)) {}

  const HttpServerOptions options;
  const HttpHandler handler;
  bool loopback = false;  // set before the first connection

  std::atomic<bool> draining{false};
  std::atomic<size_t> buffered_bytes{0};  // of bodies on their way in
  std::atomic<uint64_t> open{0}, accepted{0}, turned_away{0}, requests{0}, refused{0}, cut{0}, bytes_in{0},
      bytes_out{0};

  // Connections that may still get an answer; drain() waits for 0.
  std::mutex mutex;
  std::condition_variable all_done;
  size_t active = 0;
  void begin_active() {
    const std::lock_guard lock(mutex);
    ++active;
  }
  void end_active() {
    const std::lock_guard lock(mutex);
    if (--active == 0) all_done.notify_all();
  }
};

}  // namespace fathom::http
