#include "server/app/live_answer.h"

#include "server/api/error.h"
#include "server/app/change_feed.h"
#include "server/http/sse.h"

namespace fathom {
namespace {

std::string event_with_id(uint64_t id, const json::object& data) {
  return cat("id: ", id, "\n", sse_event(to_json(data)));
}

}  // namespace

LiveAnswer::LiveAnswer(AppMessage message, Ended ended) : message_(std::move(message)), ended_(std::move(ended)) {
  if (!message_.thinking.empty()) runs_.push_back({true, message_.thinking.size()});
  if (!message_.content.empty()) runs_.push_back({false, message_.content.size()});
  bytes_ = message_.thinking.size() + message_.content.size();
}

void LiveAnswer::add(std::string_view text, bool thinking) {
  const std::lock_guard lock(mutex_);
  if (text.empty() || complete_ || closed_) return;
  (thinking ? message_.thinking : message_.content) += text;
  if (runs_.empty() || runs_.back().thinking != thinking) runs_.push_back({thinking, 0});
  runs_.back().bytes += text.size();
  bytes_ += text.size();
  news_ = true;
  prompt_event_.clear();
  if (!pages_.empty()) tell(event(thinking, text, bytes_));
}

void LiveAnswer::tell(const std::string& event) {
  std::erase_if(pages_,
                [](const Page& p) { return p.responder->closed() || p.responder->queued_bytes() > p.most_queued; });
  for (const Page& page : pages_) page.responder->write(event);
}

void LiveAnswer::prompt(size_t done, size_t total) {
  const std::lock_guard lock(mutex_);
  if (complete_ || closed_) return;
  // Without an id: what a page that comes again is told depends on text alone.
  prompt_event_ = sse_event(to_json(json::object{{"type", "prompt"}, {"done", done}, {"total", total}}));
  tell(prompt_event_);
}

void LiveAnswer::complete(std::string status, std::string error, json::object info, std::string tokens) {
  const std::lock_guard lock(mutex_);
  if (complete_ || closed_) return;
  complete_ = true;
  message_.status = std::move(status), message_.error = std::move(error), message_.info = std::move(info);
  message_.tokens = std::move(tokens);
  if (ended_) ended_(message_);
}

AppMessage LiveAnswer::message() const {
  const std::lock_guard lock(mutex_);
  AppMessage out = message_;
  if (complete_ && !closed_)
    out.status = "running", out.error.clear(), out.info.clear(), out.tokens.clear();  // until kept
  return out;
}

bool LiveAnswer::has_news() {
  const std::lock_guard lock(mutex_);
  return std::exchange(news_, false);
}

void LiveAnswer::close(AppMessage message) {
  const std::lock_guard lock(mutex_);
  if (closed_) return;
  closed_ = true;
  message_ = std::move(message);
  const std::string last = last_event();
  for (const Page& page : pages_) {
    page.responder->write(last);
    page.responder->end();
  }
  pages_.clear();
}

void LiveAnswer::detach() {
  const std::lock_guard lock(mutex_);
  ended_ = {};
}

void LiveAnswer::attach(std::shared_ptr<Responder> page, uint64_t from) {
  const std::lock_guard lock(mutex_);
  std::erase_if(pages_, [](const Page& p) { return p.responder->closed(); });
  if (pages_.size() >= kMostPages)
    throw ApiError(503, cat("expected at most ", kMostPages, " pages that watch one answer"), "server_error", {},
                   "overloaded");
  begin_events(*page);
  std::string told = since(from) + prompt_event_;
  const size_t size = told.size();
  if (!told.empty()) page->write(std::move(told));
  if (closed_) {
    page->write(last_event());
    return page->end();
  }
  pages_.push_back({std::move(page), kMostQueued + size});
}

std::string LiveAnswer::event(bool thinking, std::string_view text, uint64_t id) const {
  return event_with_id(id, {{"type", thinking ? "thinking" : "text"}, {"text", text}});
}

std::string LiveAnswer::last_event() const {
  const bool failed = message_.status == "failed";
  return event_with_id(bytes_, {{"type", failed ? "failed" : "done"}, {"message", message_json(message_)}});
}

std::string LiveAnswer::since(uint64_t from) const {
  std::string out;
  uint64_t begin = 0;                         // of the run, in all
  size_t thinking_begin = 0, text_begin = 0;  // in its own string
  for (const Run& run : runs_) {
    const std::string& whole = run.thinking ? message_.thinking : message_.content;
    size_t& at = run.thinking ? thinking_begin : text_begin;
    std::string_view text = std::string_view(whole).substr(at, run.bytes);
    at += run.bytes;
    if (from > begin) text.remove_prefix(static_cast<size_t>(std::min<uint64_t>(from - begin, run.bytes)));
    // A number that somebody made up may point into a character.
    while (!text.empty() && (static_cast<unsigned char>(text.front()) & 0xC0) == 0x80) text.remove_prefix(1);
    begin += run.bytes;
    if (!text.empty()) out += event(run.thinking, text, begin);
  }
  return out;
}

}  // namespace fathom
