// One answer of the app while it is made: what it says so far, and the pages that watch it. Pages come and go, the
// answer goes on. An event's id is how many bytes of thinking and text the page knows with it, so that a page that
// comes again, to this server or the next, says where it stopped. Thread-safe; nothing blocks.
#pragma once
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "server/app/chat.h"
#include "server/http/http.h"

namespace fathom {

class LiveAnswer {
 public:
  /// Bytes that wait for one page, besides what it was told when it came; then it is cut off and comes again.
  static constexpr size_t kMostQueued = size_t{1} << 20;
  static constexpr size_t kMostPages = 64;
  using Ended = std::function<void(AppMessage)>;

  /// `message` may have a beginning already. `ended` hears of the end once, on any thread, and must not call back.
  explicit LiveAnswer(AppMessage message, Ended ended = {});

  // ---- of the one who makes the answer
  void add_thinking(std::string_view text) { add(text, true); }
  void add_text(std::string_view text) { add(text, false); }
  /// So many of the prompt's tokens are read. Pages are told, but for what was too early for them.
  void prompt(size_t done, size_t total);
  /// Nothing more comes: this is how it ends. `tokens`: AppMessage's.
  void complete(std::string status, std::string error, json::object info, std::string tokens = {});

  // ---- of the one who keeps it
  /// As it is now.
  AppMessage message() const;
  /// Whether there is more than at the last call.
  bool has_news();
  /// Tells the pages, those to come too, that this is the whole message. They are told nothing before it is kept.
  void close(AppMessage message);
  /// `ended` hears nothing any more.
  void detach();

  /// Streams to a page what comes behind byte `from`. Throws ApiError 503 for too many pages.
  void attach(std::shared_ptr<Responder> page, uint64_t from);

 private:
  struct Run {  // a stretch of thinking or text
    bool thinking;
    size_t bytes;
  };
  struct Page {
    std::shared_ptr<Responder> responder;
    size_t most_queued;
  };
  void add(std::string_view text, bool thinking);
  void tell(const std::string& event);
  std::string event(bool thinking, std::string_view text, uint64_t id) const;
  std::string since(uint64_t from) const;
  std::string last_event() const;

  mutable std::mutex mutex_;
  AppMessage message_;
  Ended ended_;
  std::vector<Run> runs_;
  uint64_t bytes_ = 0;
  std::string prompt_event_;  // the last one; empty: there was none, or it is over
  bool news_ = false, complete_ = false, closed_ = false;
  std::vector<Page> pages_;
};

}  // namespace fathom
