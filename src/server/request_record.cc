#include "server/request_record.h"

#include <cmath>

#include "base/json.h"

namespace fathom {
namespace {

constexpr size_t kMostPath = 1024;

/// Microseconds are enough.
double rounded(double seconds) { return std::round(seconds * 1e6) / 1e6; }

}  // namespace

void RequestRecord::add(const std::string& model_name, const Answer& answer) {
  const AnswerStats& s = answer.stats;
  if (finish_reasons.empty()) {
    queue_s = s.queue_s;
    if (s.new_tokens != 0) first_token_s = s.first_token_s;
  }
  model = model_name;
  prompt_tokens += s.prompt_tokens, new_tokens += s.new_tokens;
  cached_tokens += s.cached_tokens, thinking_tokens += s.thinking_tokens;
  finish_reasons.emplace_back(name(answer.finish_reason));
}

std::string RequestRecord::line(double time) const {
  json::object out{{"time", time}, {"id", id}, {"method", method}, {"path", path}, {"status", status}};
  if (!key.empty()) out["key"] = key;
  if (!model.empty()) {
    out["model"] = model;
    out["prompt_tokens"] = prompt_tokens;
    out["cached_tokens"] = cached_tokens;
    out["completion_tokens"] = new_tokens;
    out["thinking_tokens"] = thinking_tokens;
    if (queue_s) out["queue_s"] = rounded(*queue_s);
    if (first_token_s) out["first_token_s"] = rounded(*first_token_s);
    // Of many choices one word where they agree.
    bool same = true;
    for (const std::string& reason : finish_reasons) same = same && reason == finish_reasons.front();
    out["choices"] = finish_reasons.size();
    out["finish_reason"] = same ? json::value(finish_reasons.front())
                                : json::value(json::array(finish_reasons.begin(), finish_reasons.end()));
  }
  out["duration_s"] = rounded(duration_s);
  return to_json(out);
}

RecordedResponder::RecordedResponder(std::shared_ptr<Responder> inner, const HttpServerRequest& request, Over over)
    : inner_(std::move(inner)), over_(std::move(over)) {
  record_.id = request.id, record_.method = request.method, record_.path = request.path.substr(0, kMostPath);
}

RecordedResponder::~RecordedResponder() {
  if (!complete_) record_.status = inner_->closed() ? 499 : 500;  // forgotten: the HTTP server says 500
  record_.duration_s = std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  over_(record_);
}

void RecordedResponder::send(int status, std::string_view content_type, std::string body, HttpHeaders headers) {
  {
    const std::lock_guard lock(mutex_);
    if (!complete_ && !inner_->closed()) record_.status = status, complete_ = true;
  }
  inner_->send(status, content_type, std::move(body), std::move(headers));
}

void RecordedResponder::begin(int status, std::string_view content_type, HttpHeaders headers) {
  {
    const std::lock_guard lock(mutex_);
    record_.status = status;
  }
  inner_->begin(status, content_type, std::move(headers));
}

void RecordedResponder::end() {
  {
    const std::lock_guard lock(mutex_);
    if (!inner_->closed()) complete_ = true;
  }
  inner_->end();
}

void RecordedResponder::add(const std::string& model_name, const Answer& answer) {
  const std::lock_guard lock(mutex_);
  record_.add(model_name, answer);
}

void record_answer(Responder& responder, const std::string& model_name, const Answer& answer) {
  if (auto* recorded = dynamic_cast<RecordedResponder*>(&responder)) recorded->add(model_name, answer);
}

}  // namespace fathom
