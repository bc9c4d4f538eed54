// Tells every open page what has changed, so that all of them show the same: GET /app/api/events. A page that reads too
// slowly is cut off; it comes again and asks for everything anew. Thread-safe; nothing blocks.
#pragma once
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "server/http/http.h"

namespace fathom {

class ChangeFeed {
 public:
  static constexpr size_t kMostQueued = size_t{1} << 20;  ///< bytes that wait for one page
  static constexpr size_t kMostPages = 256;

  explicit ChangeFeed(int64_t started) : started_(started) {}
  /// Begins a page's stream with {type: "hello", started}. Throws ApiError 503 for too many.
  void attach(std::shared_ptr<Responder> page);
  /// {type, id, chat}; `chat` only where it is not empty.
  void tell(std::string_view type, const std::string& id, const std::string& chat = "");
  /// Ends all streams; who may will come again.
  void restart();
  /// Ends all streams, now and from now on.
  void close();

 private:
  const int64_t started_;
  std::mutex mutex_;
  bool closed_ = false;
  std::vector<std::shared_ptr<Responder>> pages_;
};

/// Begins a stream of events that nobody on its way keeps, with comments where nothing else is to be said.
void begin_events(Responder& responder);

}  // namespace fathom
