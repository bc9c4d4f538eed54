#include "server/api/running.h"

#include <algorithm>

namespace fathom {
namespace {

std::string bare_id(std::string_view id) {
  const size_t dash = id.rfind('-');
  return std::string(dash == std::string_view::npos ? id : id.substr(dash + 1));
}

}  // namespace

void KeptAnswer::send(int status, std::string_view content_type, std::string body, HttpHeaders headers) {
  const std::lock_guard lock(mutex_);
  if (over_) return;
  status_ = status, content_type_ = content_type, headers_ = std::move(headers);
  bytes_ = body.size();
  pieces_ = {std::move(body)};
  whole_ = over_ = true;
  for (const auto& reader : readers_) reader->send(status_, content_type_, pieces_.front(), headers_);
  readers_.clear();
}

void KeptAnswer::begin(int status, std::string_view content_type, HttpHeaders headers) {
  const std::lock_guard lock(mutex_);
  if (over_ || status_ != 0) return;
  status_ = status, content_type_ = content_type, headers_ = std::move(headers);
  for (const auto& reader : readers_) tell_begin(*reader);
}

void KeptAnswer::tell_begin(Responder& reader) const {
  reader.begin(status_, content_type_, headers_);
  if (interval_.count() != 0) reader.heartbeat(interval_, beat_);
}

void KeptAnswer::write(std::string data) {
  const std::lock_guard lock(mutex_);
  if (over_) return;
  std::erase_if(readers_, [](const std::shared_ptr<Responder>& r) { return r->closed(); });
  for (const auto& reader : readers_) reader->write(data);
  bytes_ += data.size();
  if (bytes_ <= kMostBytes) pieces_.push_back(std::move(data));  // beyond that the end alone is for readers to come
}

void KeptAnswer::end() {
  const std::lock_guard lock(mutex_);
  if (over_) return;
  over_ = true;
  for (const auto& reader : readers_) reader->end();
  readers_.clear();
}

void KeptAnswer::heartbeat(std::chrono::milliseconds interval, std::string text) {
  const std::lock_guard lock(mutex_);
  interval_ = interval, beat_ = std::move(text);
  for (const auto& reader : readers_) reader->heartbeat(interval_, beat_);
}

void KeptAnswer::on_close(std::function<void()>) {}  // it goes on without a reader

bool KeptAnswer::begun() const {
  const std::lock_guard lock(mutex_);
  return status_ != 0;
}

size_t KeptAnswer::bytes() const {
  const std::lock_guard lock(mutex_);
  return bytes_;
}

bool KeptAnswer::over() const {
  const std::lock_guard lock(mutex_);
  return over_;
}

bool KeptAnswer::whole() const {
  const std::lock_guard lock(mutex_);
  return whole_;
}

void KeptAnswer::attach(std::shared_ptr<Responder> reader, size_t skip) {
  const std::lock_guard lock(mutex_);
  if (whole_) return reader->send(status_, content_type_, pieces_.front(), headers_);
  if (status_ != 0) {
    tell_begin(*reader);
    for (size_t i = skip; i < pieces_.size(); ++i) reader->write(pieces_[i]);
  }
  if (over_) return reader->end();
  readers_.push_back(std::move(reader));
}

void RunningRequests::add(const std::string& id, const std::shared_ptr<RunningRequest>& request) {
  const std::lock_guard lock(mutex_);
  std::erase_if(running_, [](const auto& entry) { return entry.second.expired(); });
  running_[bare_id(id)] = request;
}

std::shared_ptr<RunningRequest> RunningRequests::find(std::string_view id) const {
  std::shared_ptr<RunningRequest> request;
  {
    const std::lock_guard lock(mutex_);
    if (const auto found = running_.find(bare_id(id)); found != running_.end()) request = found->second.lock();
  }
  return request && request->running() ? request : nullptr;
}

void RunningRequests::keep(const std::string& id, std::shared_ptr<KeptAnswer> answer) {
  const std::lock_guard lock(mutex_);
  kept_.emplace_back(bare_id(id), std::move(answer));
  size_t bytes = 0;
  for (const auto& [key, kept] : kept_) bytes += std::min(kept->bytes(), KeptAnswer::kMostBytes);
  for (auto at = kept_.begin(); (kept_.size() > kMostKept || bytes > kMostKeptBytes) && at != kept_.end();) {
    if (!at->second->over()) {
      ++at;
      continue;
    }
    bytes -= std::min(at->second->bytes(), KeptAnswer::kMostBytes);
    at = kept_.erase(at);
  }
}

std::shared_ptr<KeptAnswer> RunningRequests::kept(std::string_view id) const {
  const std::lock_guard lock(mutex_);
  for (const auto& [key, answer] : kept_)
    if (key == bare_id(id)) return answer;
  return nullptr;
}

void RunningRequests::forget(std::string_view id) {
  const std::lock_guard lock(mutex_);
  std::erase_if(kept_, [key = bare_id(id)](const auto& entry) { return entry.first == key; });
}

}  // namespace fathom
