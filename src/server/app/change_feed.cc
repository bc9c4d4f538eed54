#include "server/app/change_feed.h"

#include "base/json.h"
#include "server/api/error.h"
#include "server/http/sse.h"

namespace fathom {

void begin_events(Responder& responder) {
  responder.begin(200, "text/event-stream", {{"Cache-Control", "no-store"}, {"X-Accel-Buffering", "no"}});
  responder.heartbeat(std::chrono::seconds(15), sse_comment("keep-alive"));
}

void ChangeFeed::attach(std::shared_ptr<Responder> page) {
  const std::lock_guard lock(mutex_);
  std::erase_if(pages_, [](const auto& p) { return p->closed(); });
  if (pages_.size() >= kMostPages)
    throw ApiError(503, cat("events: expected at most ", kMostPages, " pages at a time"), "server_error", {},
                   "overloaded");
  begin_events(*page);
  page->write(sse_event(to_json(json::object{{"type", "hello"}, {"started", started_}})));
  if (closed_) return page->end();
  pages_.push_back(std::move(page));
}

void ChangeFeed::tell(std::string_view type, const std::string& id, const std::string& chat) {
  json::object event{{"type", type}, {"id", id}};
  if (!chat.empty()) event["chat"] = chat;
  const std::string text = sse_event(to_json(event));
  const std::lock_guard lock(mutex_);
  std::erase_if(pages_, [](const auto& p) { return p->closed() || p->queued_bytes() > kMostQueued; });
  for (const auto& page : pages_) page->write(text);
}

void ChangeFeed::restart() {
  const std::lock_guard lock(mutex_);
  for (const auto& page : pages_) page->end();
  pages_.clear();
}

void ChangeFeed::close() {
  const std::lock_guard lock(mutex_);
  closed_ = true;
  for (const auto& page : pages_) page->end();
  pages_.clear();
}

}  // namespace fathom
